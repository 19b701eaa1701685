"""Free-running decoding of a batch: each step is fed the frames of the step before."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels.choice import uses_cpu_kernels
from models.kernels.cuda_graph import captured_graph
from models.kernels.packed_linear import PackedLinear
from models.kernels.weight_cache import cached_weights
from models.layers import dropout
from models.tacotron2.decode_state import DecodeOptions, DecoderState, DecoderWeights, NumbaSteps, TorchSteps

STEPS = 8
"""Steps between two checks whether all items have ended; on a GPU they are one CUDA graph."""


class DecoderOutput(NamedTuple):
    """Frames of S steps; item b is valid up to its own number of steps."""

    outputs: Tensor  # [B, S, n_mel·r + 1] frames and gate logit
    alignments: Tensor  # [B, S, N]
    steps: Tensor  # [B]
    stopped: Tensor  # [B] bool: ended by its gate, not by the step limit


def decode(weights: DecoderWeights, memory: Tensor, lengths: Tensor, options: DecodeOptions) -> DecoderOutput:
    """Decode until the gates of all items have opened, or up to `max_steps`; memory [B, N, E] in float32 at least."""
    outputs: list[Tensor] = []
    alignments: list[Tensor] = []
    steps, stopped = torch.full_like(lengths, options.max_steps), torch.zeros_like(lengths, dtype=torch.bool)
    decoder = BatchDecoder(weights, memory, lengths, options)
    n_done = 0
    while n_done < options.max_steps and not bool(stopped.all()):
        decoder.run_steps()
        n_left = options.max_steps - n_done
        outputs.append(decoder.outputs[:n_left].clone())
        alignments.append(decoder.alignments[:n_left].clone())
        is_open = torch.sigmoid(outputs[-1][..., -1]) > options.gate_threshold
        ends_now = is_open.any(0) & ~stopped
        steps = torch.where(ends_now, n_done + 1 + is_open.int().argmax(0), steps)
        stopped = stopped | ends_now
        n_done += len(decoder.outputs)
    n_steps = int(steps.max())
    all_outputs, all_alignments = (torch.cat(each)[:n_steps].transpose(0, 1) for each in (outputs, alignments))
    return DecoderOutput(all_outputs, all_alignments, steps, stopped)


class BatchDecoder:
    """Decoder state of a batch; each call of `run_steps` sets the outputs and alignments of the next steps."""

    def __init__(self, weights: DecoderWeights, memory: Tensor, lengths: Tensor, options: DecodeOptions) -> None:
        layout = "batch", options.dtype, len(memory), uses_cpu_kernels(memory)
        self._attention_product, self._decoder_product = cached_weights(
            weights.module, layout, lambda: _pack_lstm_weights(weights, options.dtype, len(memory))
        )
        self._p_dropout, self._state = options.p_prenet_dropout, _new_state(weights, memory, lengths, options.dtype)
        self._steps = (NumbaSteps if uses_cpu_kernels(memory) else TorchSteps)(self._state)
        self.outputs, self.alignments = self._state.outputs, self._state.alignments
        self._run = captured_graph(self._run_captured, memory.device)
        self._state.reset()

    def run_steps(self) -> None:
        keep = self._state.keep
        keep.copy_(dropout(torch.ones_like(keep), self._p_dropout, training=True))
        self._run()

    def _run_captured(self) -> None:
        for t in range(STEPS):
            self._steps.run_prenet(t)
            self._steps.attend(t, self._attention_product(self._state.attention_input))
            self._steps.project(t, self._decoder_product(self._state.decoder_input))


def _pack_lstm_weights(weights: DecoderWeights, dtype: torch.dtype, n_rows: int) -> tuple[PackedLinear, PackedLinear]:
    """Input and recurrent weights of both LSTMs, in the order of their inputs in `DecoderState`."""
    first, second = weights.attention_lstm, weights.decoder_lstm
    hidden, context = second.input.tensor_split([first.recurrent.size(1)], dim=1)
    attention_weight = torch.cat([first.input, first.recurrent], 1)
    decoder_weight = torch.cat([context, hidden, second.recurrent], 1)
    return PackedLinear(attention_weight, dtype, n_rows), PackedLinear(decoder_weight, dtype, n_rows)


def _new_state(weights: DecoderWeights, memory: Tensor, lengths: Tensor, dtype: torch.dtype) -> DecoderState:
    (batch, n_tokens, width), zeros = memory.shape, memory.new_zeros
    n_prenet = len(weights.prenet[0])
    n_hidden, n_decoder = weights.attention_lstm.recurrent.size(1), weights.decoder_lstm.recurrent.size(1)
    return DecoderState(
        prenet=weights.prenet,
        query=weights.query.t(),
        location=weights.location,
        energy=weights.energy,
        attention_biases=weights.attention_lstm.bias.to(dtype).repeat(batch, 1),
        decoder_biases=weights.decoder_lstm.bias.to(dtype).repeat(batch, 1),
        output=weights.output,
        output_bias=weights.output_bias,
        lengths=lengths,
        memory=memory.to(dtype).contiguous(),
        processed_memory=F.linear(memory, weights.memory).to(dtype),
        keep=zeros(STEPS, 2, batch, n_prenet),
        outputs=zeros(STEPS, batch, len(weights.output)),
        alignments=zeros(STEPS, batch, n_tokens),
        attention_input=zeros(batch, n_prenet + width + n_hidden, dtype=dtype),
        decoder_input=zeros(batch, width + n_hidden + n_decoder, dtype=dtype),
        attention_cell=zeros(batch, n_hidden),
        decoder_cell=zeros(batch, n_decoder),
        history=zeros(batch, 2, n_tokens + weights.location.size(0) // 2 - 1),
    )
