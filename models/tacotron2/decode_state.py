"""What a decoder needs to speak freely, and its steps with torch's operations or with passes of numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels.bfloat16 import array_of
from models.tacotron2 import decode_steps as speaking_steps


class SpeakingState(NamedTuple):
    """Weights, memory and buffers for B items; what is short has the number format of the large products."""

    prenet: tuple[Tensor, Tensor]  # [P, n_mel·r], [P, P]
    query: Tensor  # [H, A], as in `ScanWeights`
    location: Tensor  # [2K, A]
    energy: Tensor  # [A]
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

    def __init__(self, state: SpeakingState) -> None:
        s, (batch, n_tokens, width), wide = state, state.memory.shape, state.cell.new_zeros
        query, windows = wide(batch, s.query.size(1)), wide(batch, n_tokens, 2, s.location.size(0) // 2)
        located, no_features = wide(s.projected.shape), s.projected.new_empty(batch, n_tokens, 0)
        hidden, ones, gates = torch.zeros_like(s.cell), torch.ones_like(s.cell), wide(s.biases.shape)
        known = s.memory.new_zeros(batch, width + s.cell.size(1))
        deep, deep_gates = torch.zeros_like(s.deep_cell), wide(s.deep_biases.shape)
        self._windows, self._located = windows.view(-1, len(s.location)), located.flatten(0, 1)
        self._location, self._hidden, self._query, self._asked = s.location, hidden, s.query.contiguous(), query
        self._state, self._alignments = s, list(array_of(s.alignments))
        heard = (s.biases, ones, gates, s.cell, hidden, known)
        self._listen = _bound(speaking_steps.listen, *heard, s.looked, windows)
        seen = (located, s.projected, query, s.energy, s.lengths, s.memory, s.looked, no_features, known)
        self._look = _bound(speaking_steps.look, *seen, s.listening, s.thinking)
        thought = (s.deep_biases, torch.ones_like(deep), deep_gates, s.deep_cell, deep, s.thinking)
        self._to_say, self._output = wide(batch, s.output.size(1)), s.output.t().contiguous()
        self._think = _bound(speaking_steps.think, *thought, self._to_say)
        self._layers = [weight.t().contiguous() for weight in s.prenet]
        self._heard = [wide(batch, layer.size(1)) for layer in self._layers]
        to_drop = zip(self._heard, (self._heard[0], s.listening), strict=True)
        self._drop, self._keep = [_bound(speaking_steps.drop, *each) for each in to_drop], array_of(s.keep)

    def hear(self, t: int) -> None:
        heard = self._state.said[t - 1, :, :-1]
        for i, layer in enumerate(self._layers):
            torch.mm(heard, layer, out=self._heard[i])
            self._drop[i](self._keep[t, i])
            heard = self._heard[i]

    def look(self, t: int, product: Tensor) -> None:
        self._listen(array_of(product))
        torch.mm(self._hidden, self._query, out=self._asked)
        torch.mm(self._windows, self._location, out=self._located)
        self._look(self._alignments[t])

    def say(self, t: int, product: Tensor) -> None:
        self._think(array_of(product))
        torch.addmm(self._state.output_bias, self._to_say, self._output, out=self._state.said[t])


def _bound(function: Callable[..., Any], *tensors: Tensor) -> Callable[..., Any]:
    return partial(function, torch.get_num_threads(), *map(array_of, tensors))


class StepsInTorch:
    """The same, for a GPU."""

    def __init__(self, state: SpeakingState) -> None:
        self.state, n_tokens = state, state.memory.size(1)
        self._before = state.location.size(0) // 4
        self._closed = torch.arange(n_tokens, device=state.memory.device) >= state.lengths.unsqueeze(1)
        self._hidden, self._deep = torch.zeros_like(state.cell), torch.zeros_like(state.deep_cell)

    def hear(self, t: int) -> None:
        """The prenet: the beginning of what the attention LSTM is given."""
        heard = self.state.said[t - 1, :, :-1]
        for weight, keep in zip(self.state.prenet, self.state.keep[t], strict=True):
            heard = F.relu(F.linear(heard, weight)) * keep
        self.state.listening[:, : heard.size(1)] = heard

    def look(self, t: int, product: Tensor) -> None:
        s, n_tokens = self.state, self.state.memory.size(1)
        _step_lstm(product, s.biases, s.cell, self._hidden)
        windows = s.looked.unfold(2, s.location.size(0) // 2, 1).transpose(1, 2)
        features = windows.flatten(2) @ s.location + s.projected + (self._hidden @ s.query).unsqueeze(1)
        attention = torch.softmax((torch.tanh(features) @ s.energy).masked_fill(self._closed, -torch.inf), 1)
        seen = s.looked[..., self._before :][..., :n_tokens]
        seen[:, 0] = attention
        seen[:, 1] += attention
        s.alignments[t] = attention
        context = torch.bmm(attention.unsqueeze(1).to(s.memory.dtype), s.memory).squeeze(1)
        known = torch.cat([context, self._hidden.to(context.dtype)], 1)
        s.thinking[:, : known.size(1)] = known
        s.listening[:, -known.size(1) :] = known

    def say(self, t: int, product: Tensor) -> None:
        s = self.state
        _step_lstm(product, s.deep_biases, s.deep_cell, self._deep)
        context = s.thinking[:, : s.memory.size(2)].to(self._deep.dtype)
        s.thinking[:, -self._deep.size(1) :] = self._deep
        torch.addmm(s.output_bias, torch.cat([self._deep, context], 1), s.output.t(), out=s.said[t])


def _step_lstm(product: Tensor, biases: Tensor, cell: Tensor, hidden: Tensor) -> None:
    into, forget, candidate, out = (product.to(cell.dtype) + biases).chunk(4, dim=1)
    torch.addcmul(torch.sigmoid(forget) * cell, torch.sigmoid(into), torch.tanh(candidate), out=cell)
    torch.mul(torch.sigmoid(out), torch.tanh(cell), out=hidden)
