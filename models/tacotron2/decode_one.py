"""Free-running decoding of a single item on a CPU, with low latency: whole steps in numba, on a few threads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels.bfloat16 import numpy_view
from models.kernels.spin_barrier import run_on_threads
from models.kernels.weight_cache import cached_weights
from models.layers import dropout
from models.tacotron2.decode_one_steps import SingleState, SingleWeights, decode_steps
from models.tacotron2.decode_state import DecodeOptions, DecoderWeights

MAX_STEPS_PER_CALL = 16
"""A call ends earlier when the gate opens."""
MAX_THREADS = 8
"""More threads would only wait for memory."""
GATE_LOGIT_MARGIN = 0.01
"""Numba stops at a gate logit this far above the threshold, so that torch, which rounds differently, agrees."""


class SingleDecoder:
    """Decoder state of one item; each call of `run_steps` sets the outputs and alignments of the next steps."""

    def __init__(self, weights: DecoderWeights, memory: Tensor, lengths: Tensor, options: DecodeOptions) -> None:
        layout = cached_weights(
            weights.module, ("single", options.dtype), lambda: _convert_weights(weights, options.dtype)
        )
        new, n_tokens, tokens = memory.new_zeros, memory.size(1), memory[0, : int(lengths)]
        n_prenet, n_hidden, n_decoder = len(layout["prenet"]), layout["query"].size(1), layout["output"].size(1)
        n_steps = MAX_STEPS_PER_CALL
        self._p_dropout, self._keep = options.p_prenet_dropout, new(n_steps, 2, n_prenet)
        self.outputs, self.alignments = new(n_steps, 1, len(layout["output"])), new(n_steps, 1, n_tokens)
        context_weight, bias = layout["context"], layout["bias"]
        fixed = {name: layout[name] for name in SingleWeights._fields if name in layout}
        fixed |= {
            "shares": F.linear(tokens.to(options.dtype), context_weight, bias.to(options.dtype)),
            "processed_memory": F.linear(tokens, weights.memory).to(options.dtype),
            "keep": self._keep,
        }
        changing = {
            "context_shares": bias.clone(),  # before the first step the context is zero
            "attention_input": new(1, n_prenet + n_hidden),
            "decoder_input": new(1, n_hidden + n_decoder),
            "attention_cell": new(1, n_hidden),
            "decoder_cell": new(1, n_decoder),
            "history": new(2, n_tokens + len(layout["location"]) // 2 - 1),
            "outputs": self.outputs.squeeze(1),
            "alignments": self.alignments.squeeze(1),
            "attention_product": new(1, 4 * n_hidden),
            "decoder_product": new(1, 4 * n_decoder),
            "query": new(len(layout["energy"])),
            "energies": new(len(tokens)),
        }
        self._weights = SingleWeights(**{name: numpy_view(tensor) for name, tensor in fixed.items()})
        self._state = SingleState(**{name: numpy_view(tensor) for name, tensor in changing.items()})
        self._stop_logit = GATE_LOGIT_MARGIN + torch.logit(torch.tensor(options.gate_threshold)).item()

    def run_steps(self) -> None:
        self._keep.copy_(dropout(torch.ones_like(self._keep), self._p_dropout, training=True))
        n_threads = min(torch.get_num_threads(), MAX_THREADS)
        run_on_threads(decode_steps, n_threads, self._stop_logit, self._weights, self._state)


def _convert_weights(weights: DecoderWeights, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors by their names in `SingleWeights`, with the weights that multiply a context and all biases."""
    first, second = weights.attention_lstm, weights.decoder_lstm
    n_hidden, n_decoder = first.recurrent.size(1), second.recurrent.size(1)
    width = second.input.size(1) - n_hidden
    prenet, context = first.input.split([first.input.size(1) - width, width], dim=1)
    hidden, decoder_context = second.input.split([n_hidden, width], dim=1)
    output, output_context = weights.output.split([n_decoder, width], dim=1)
    products = {
        "attention_lstm": torch.cat([prenet, first.recurrent], dim=1),
        "query": weights.query,
        "decoder_lstm": torch.cat([hidden, second.recurrent], dim=1),
        "output": output,
        "context": torch.cat([context, decoder_context, output_context]),  # [4H + 4D + O, E]
    }
    products |= dict(zip(("prenet", "prenet_2"), weights.prenet, strict=True))
    return {name: weight.detach().to(dtype).contiguous() for name, weight in products.items()} | {
        "location": weights.location.contiguous(),
        "energy": weights.energy.detach(),
        "bias": torch.cat([first.bias, second.bias, weights.output_bias]),  # [4H + 4D + O]
    }
