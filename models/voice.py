"""What a decoder needs to speak freely, and its steps with torch's operations or with passes of numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models import speaking_steps
from models.attention_tape import ScanWeights
from models.number_formats import array_of


class Voice(NamedTuple):
    """Weights, memory and buffers for B items; what is short has the number format of the large products."""

    prenet: tuple[Tensor, Tensor]  # [P, n_mel·r], [P, P]
    weights: ScanWeights  # but for the recurrent ones
    biases: Tensor  # [B, 4H] of the attention LSTM, short
    deep_biases: Tensor  # [B, 4D] of the decoder LSTM, short
    output: Tensor  # [n_mel·r + 1, D + E] to frames and gate
    output_bias: Tensor  # [n_mel·r + 1]
    lengths: Tensor  # [B] tokens
    memory: Tensor  # [B, N, E] short
    projected: Tensor  # [B, N, A] the memory's share of the features; short
    keep: Tensor  # [steps, 2, B, P] scaled dropout masks of the prenet
    said: Tensor  # [steps, B, n_mel·r + 1]
    alignments: Tensor  # [steps, B, N]
    listening: Tensor  # [B, P + E + H] what the attention LSTM is given: heard, context, hidden state; short
    thinking: Tensor  # [B, E + H + D] what the decoder LSTM is given: context, hidden states; short
    cell: Tensor  # [B, H]
    deep_cell: Tensor  # [B, D]
    looked: Tensor  # [B, 2, N + K - 1] the last attention and the sum of all, with zeros on both sides

    def begin(self) -> None:
        """As if nothing had been said."""
        for buffer in (self.said, self.listening, self.thinking, self.cell, self.deep_cell, self.looked):
            buffer.zero_()


class StepsOnCpu:
    """Each is what comes before, between and after the two large products of a step."""

    def __init__(self, voice: Voice) -> None:
        v, w, (batch, n_tokens, width), wide = voice, voice.weights, voice.memory.shape, voice.cell.new_zeros
        query, windows = wide(batch, w.query.size(1)), wide(batch, n_tokens, 2, w.location.size(0) // 2)
        located, features = wide(v.projected.shape), torch.zeros_like(v.projected)
        hidden, ones, gates = torch.zeros_like(v.cell), torch.ones_like(v.cell), wide(v.biases.shape)
        state, by_query = v.memory.new_zeros(batch, width + v.cell.size(1)), w.query.t().contiguous()
        deep, deep_gates = torch.zeros_like(v.deep_cell), wide(v.deep_biases.shape)
        self._windows, self._located = windows.view(-1, len(w.location)), located.flatten(0, 1)
        self._location = w.location
        self._said, self._keep, self._alignments = (list(array_of(x)) for x in (v.said, v.keep, v.alignments))
        self._hear = _bound(speaking_steps.hear, *v.prenet, v.listening)
        heard = (v.biases, ones, gates, v.cell, hidden, state)
        self._listen = _bound(speaking_steps.listen, *heard, by_query, query, v.looked, windows)
        seen = (located, v.projected, query, w.energy, v.lengths, v.memory, v.looked, features, state)
        self._look = _bound(speaking_steps.look, *seen, v.listening, v.thinking)
        thought = (v.deep_biases, torch.ones_like(deep), deep_gates, v.deep_cell, deep, v.thinking)
        self._say = _bound(speaking_steps.say, *thought, v.output, v.output_bias)

    def hear(self, t: int) -> None:
        self._hear(self._said[t - 1], self._keep[t])

    def look(self, t: int, product: Tensor) -> None:
        self._listen(array_of(product))
        torch.mm(self._windows, self._location, out=self._located)
        self._look(self._alignments[t])

    def say(self, t: int, product: Tensor) -> None:
        self._say(array_of(product), self._said[t])


def _bound(function: Callable[..., Any], *tensors: Tensor) -> Callable[..., Any]:
    return partial(function, *map(array_of, tensors))


class StepsInTorch:
    """The same, for a GPU."""

    def __init__(self, voice: Voice) -> None:
        self.voice, n_tokens = voice, voice.memory.size(1)
        self._before = voice.weights.location.size(0) // 4
        self._closed = torch.arange(n_tokens, device=voice.memory.device) >= voice.lengths.unsqueeze(1)
        self._hidden, self._deep = torch.zeros_like(voice.cell), torch.zeros_like(voice.deep_cell)

    def hear(self, t: int) -> None:
        heard = self.voice.said[t - 1, :, :-1]
        for weight, keep in zip(self.voice.prenet, self.voice.keep[t], strict=True):
            heard = F.relu(F.linear(heard, weight)) * keep
        self.voice.listening[:, : heard.size(1)] = heard

    def look(self, t: int, product: Tensor) -> None:
        v, w, n_tokens = self.voice, self.voice.weights, self.voice.memory.size(1)
        _step_lstm(product, v.biases, v.cell, self._hidden)
        windows = v.looked.unfold(2, w.location.size(0) // 2, 1).transpose(1, 2)
        features = windows.flatten(2) @ w.location + v.projected + (self._hidden @ w.query).unsqueeze(1)
        attention = torch.softmax((torch.tanh(features) @ w.energy).masked_fill(self._closed, -torch.inf), 1)
        seen = v.looked[..., self._before :][..., :n_tokens]
        seen[:, 0] = attention
        seen[:, 1] += attention
        v.alignments[t] = attention
        context = torch.bmm(attention.unsqueeze(1).to(v.memory.dtype), v.memory).squeeze(1)
        state = torch.cat([context, self._hidden.to(context.dtype)], 1)
        v.thinking[:, : state.size(1)] = state
        v.listening[:, -state.size(1) :] = state

    def say(self, t: int, product: Tensor) -> None:
        v = self.voice
        _step_lstm(product, v.deep_biases, v.deep_cell, self._deep)
        context = v.thinking[:, : v.memory.size(2)].to(self._deep.dtype)
        v.thinking[:, -self._deep.size(1) :] = self._deep
        torch.addmm(v.output_bias, torch.cat([self._deep, context], 1), v.output.t(), out=v.said[t])


def _step_lstm(product: Tensor, biases: Tensor, cell: Tensor, hidden: Tensor) -> None:
    into, forget, candidate, out = (product.to(cell.dtype) + biases).chunk(4, dim=1)
    torch.addcmul(torch.sigmoid(forget) * cell, torch.sigmoid(into), torch.tanh(candidate), out=cell)
    torch.mul(torch.sigmoid(out), torch.tanh(cell), out=hidden)
