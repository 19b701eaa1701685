"""One voice that speaks freely on a CPU: what its steps need is laid out once, and they are taken by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels.bfloat16 import array_of
from models.kernels.spin_barrier import together
from models.kernels.weight_cache import kept
from models.layers import dropout
from models.tacotron2.decode_one_steps import Given, Going, speak_on

if TYPE_CHECKING:
    from models.tacotron2.model import Decoder

STEPS = 16
"""At most, in one stretch; what comes after the gate's opening is not said."""
MOST_THREADS = 8
"""More would wait for the memory only."""
SURELY = 0.01
"""A gate's logit is above the threshold's by so much: whoever looks again, by other arithmetic, finds it open too."""


class SingleVoice:
    """The state of a decoder over one memory [1, N, E], and what it says in a stretch of steps."""

    def __init__(self, decoder: Decoder, memory: Tensor, lengths: Tensor, dtype: torch.dtype) -> None:
        weights = kept(decoder, ("a single voice", dtype), lambda: _weights(decoder, dtype))
        zeros, n_tokens, tokens = memory.new_zeros, memory.size(1), memory[0, : int(lengths)]
        n_heard, n_hidden, n_deep = len(weights["prenet"]), weights["query"].size(1), weights["output"].size(1)
        self._p_dropout, self._keep = decoder.prenet.p_dropout, zeros(STEPS, 2, n_heard)
        self.said, self.alignments = zeros(STEPS, 1, len(weights["output"])), zeros(STEPS, 1, n_tokens)
        of_memory, bias = weights["of_memory"], weights["bias"]
        given = {name: weights[name] for name in Given._fields if name in weights}
        given |= {
            "shares": F.linear(tokens.to(dtype), of_memory, bias.to(dtype)),
            "projected": decoder.attention_layer.memory_layer(tokens).to(dtype),
            "keep": self._keep,
        }
        going = {
            "gathered": bias.clone(),  # all that is made of a context of nothing
            "listening": zeros(1, n_heard + n_hidden),
            "thinking": zeros(1, n_hidden + n_deep),
            "cell": zeros(1, n_hidden),
            "deep_cell": zeros(1, n_deep),
            "looked": zeros(2, n_tokens + len(weights["location"]) // 2 - 1),
            "said": self.said.squeeze(1),
            "alignments": self.alignments.squeeze(1),
            "product": zeros(1, 4 * n_hidden),
            "deep_product": zeros(1, 4 * n_deep),
            "asked": zeros(len(weights["energy"])),
            "energies": zeros(len(tokens)),
        }
        self._given = Given(**{name: array_of(tensor) for name, tensor in given.items()})
        self._going = Going(**{name: array_of(tensor) for name, tensor in going.items()})
        self._surely_open = SURELY + torch.logit(torch.tensor(decoder.gate_threshold)).item()

    def go_on(self) -> None:
        """Say what comes next."""
        self._keep.copy_(dropout(torch.ones_like(self._keep), self._p_dropout, training=True))
        n_threads = min(torch.get_num_threads(), MOST_THREADS)
        together(speak_on, n_threads, self._surely_open, self._given, self._going)


def _weights(decoder: Decoder, dtype: torch.dtype) -> dict[str, Tensor]:
    """By their names in `Given`, and what makes shares of a memory."""
    first, second, attention = decoder.attention_rnn, decoder.decoder_rnn, decoder.attention_layer
    n_hidden, n_deep = first.hidden_size, second.hidden_size
    width = second.input_size - n_hidden
    projection, gate = decoder.linear_projection.linear_layer, decoder.gate_layer.linear_layer
    heard, context = first.weight_ih.split([first.input_size - width, width], dim=1)
    hidden, deep_context = second.weight_ih.split([n_hidden, width], dim=1)
    of_deep, of_context = torch.cat([projection.weight, gate.weight]).split([n_deep, width], dim=1)
    biases = first.bias_ih + first.bias_hh, second.bias_ih + second.bias_hh, projection.bias, gate.bias
    short = {
        "recurrent": torch.cat([heard, first.weight_hh], dim=1),
        "query": attention.query_layer.linear_layer.weight,
        "deep": torch.cat([hidden, second.weight_hh], dim=1),
        "output": of_deep,
        "of_memory": torch.cat([context, deep_context, of_context]),  # [4H + 4D + O, E]
    }
    short |= dict(zip(("prenet", "prenet_again"), decoder.prenet.weights(), strict=True))
    return {name: weight.detach().to(dtype).contiguous() for name, weight in short.items()} | {
        "location": attention.location_layer.fused_weight().contiguous(),
        "energy": attention.v.linear_layer.weight.detach().squeeze(0),
        "bias": torch.cat(biases),  # [4H + 4D + O]
    }
