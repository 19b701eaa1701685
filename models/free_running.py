"""Tacotron 2's decoder speaking freely: each step is fed what the one before has said."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import attention_on_cpu, attention_on_gpu
from models.attention_tape import Glance, ScanWeights
from models.cuda_graph import recorded
from models.layers import dropout, precise, without_autocast
from models.repeated_product import RepeatedProduct

if TYPE_CHECKING:
    from models.tacotron2 import Decoder

STEPS = 8
"""Between two looks at whether all have ended; on a GPU they are one CUDA graph."""


class Spoken(NamedTuple):
    """S steps; item b is valid up to its own."""

    said: Tensor  # [B, S, n_mel·r + 1] frames and the gate's logit
    alignments: Tensor  # [B, S, N]
    steps: Tensor  # [B]
    stopped: Tensor  # [B] bool: by itself


@torch.no_grad()
def speak(decoder: Decoder, memory: Tensor, lengths: Tensor, *, max_steps: int, dtype: torch.dtype) -> Spoken:
    """Until all have ended, or `max_steps`; the large products are taken in `dtype`."""
    said: list[Tensor] = []
    alignments: list[Tensor] = []
    steps, stopped = torch.full_like(lengths, max_steps), torch.zeros_like(lengths, dtype=torch.bool)
    with without_autocast(memory):
        voice = FreeRunning(decoder, precise(memory), lengths, dtype)
        for begin in range(0, max_steps, STEPS):
            voice.go_on()
            said.append(voice.said[: max_steps - begin].clone())
            alignments.append(voice.alignments[: max_steps - begin].clone())
            opened = torch.sigmoid(said[-1][..., -1]) > decoder.gate_threshold
            ends = opened.any(0) & ~stopped
            steps = torch.where(ends, begin + 1 + opened.int().argmax(0), steps)
            stopped = stopped | ends
            if bool(stopped.all()):
                break
    n_steps = int(steps.max())
    all_said, all_alignments = (torch.cat(each)[:n_steps].transpose(0, 1) for each in (said, alignments))
    return Spoken(all_said, all_alignments, steps, stopped)


class FreeRunning:
    """The state of a decoder over one memory [B, N, E], and what it says in a stretch of steps."""

    def __init__(self, decoder: Decoder, memory: Tensor, lengths: Tensor, dtype: torch.dtype) -> None:
        (batch, n_tokens, width), zeros = memory.shape, memory.new_zeros
        first, second, attention = decoder.attention_rnn, decoder.decoder_rnn, decoder.attention_layer
        n_hidden, n_said = first.hidden_size, decoder.n_mel * decoder.r + 1
        self._prenet, self._p_dropout = decoder.prenet.layers, decoder.prenet.p_dropout
        self._weights: ScanWeights = decoder.scan_weights(width)
        self._recurrent = RepeatedProduct(torch.cat([first.weight_ih, first.weight_hh], 1), dtype, batch)
        context_first = torch.cat([second.weight_ih[:, n_hidden:], second.weight_ih[:, :n_hidden]], 1)
        self._deep = RepeatedProduct(torch.cat([context_first, second.weight_hh], 1), dtype, batch)
        projection, gate = decoder.linear_projection.linear_layer, decoder.gate_layer.linear_layer
        self._output = RepeatedProduct(torch.cat([projection.weight, gate.weight]), dtype, batch)
        self._output_bias = torch.cat([projection.bias, gate.bias])
        self._cell, self._deep_cell = zeros(batch, n_hidden), zeros(batch, second.hidden_size)
        self._hidden, self._deep_hidden = torch.zeros_like(self._cell), torch.zeros_like(self._deep_cell)
        self._state = zeros(batch, width + n_hidden, dtype=dtype)
        self._deep_state = zeros(batch, second.hidden_size, dtype=dtype)
        self._context = self._state[:, :width]
        kernel_size, dim = self._weights.location.size(0) // 2, self._weights.query.size(1)
        self._glance = Glance(
            features=zeros(batch, n_tokens, dim, dtype=dtype),
            projected=attention.memory_layer(memory).to(dtype),
            query=zeros(batch, dim),
            lengths=lengths,
            memory=memory.to(dtype),
            looked=zeros(batch, 2, n_tokens + kernel_size - 1),
            windows=zeros(batch, n_tokens, 2, kernel_size),
            state=self._state,
        )

        def biases(cell: nn.LSTMCell) -> Tensor:
            return (cell.bias_ih + cell.bias_hh).to(dtype).repeat(batch, 1)

        machine = attention_on_cpu if memory.device.type == "cpu" else attention_on_gpu
        self._listen = machine.lstm_in_place(biases(first), self._cell, self._hidden, self._state)
        self._attend = machine.attention_in_place(self._glance, self._weights)
        self._think = machine.lstm_in_place(biases(second), self._deep_cell, self._deep_hidden, self._deep_state)
        self._keep = zeros(STEPS, 2, batch, first.input_size - width)
        self.said, self.alignments = zeros(STEPS, batch, n_said), zeros(STEPS, batch, n_tokens)
        self._run = recorded(self._stretch, memory.device)
        for begun in (self._cell, self._deep_cell, self._state, self._deep_state, self._glance.looked, self.said):
            begun.zero_()

    def go_on(self) -> None:
        """Say what comes next."""
        self._keep.copy_(dropout(torch.ones_like(self._keep), self._p_dropout, training=True))
        self._run()

    def _stretch(self) -> None:
        for t in range(STEPS):
            heard = self.said[t - 1, :, :-1]
            for layer, keep in zip(self._prenet, self._keep[t], strict=True):
                heard = F.relu(layer(heard)) * keep
            self._listen(self._recurrent(torch.cat([heard.to(self._state.dtype), self._state], 1)))
            torch.mm(self._hidden, self._weights.query, out=self._glance.query)
            self.alignments[t] = self._attend()
            self._think(self._deep(torch.cat([self._state, self._deep_state], 1)))
            known = torch.cat([self._deep_state, self._context], 1)
            torch.add(self._output(known), self._output_bias, out=self.said[t])
