"""Weights, state and single steps of free-running decoding, in numba for a CPU and in torch operations for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.bfloat16 import numpy_view
from models.tacotron2 import decode_steps


class LstmWeights(NamedTuple):
    input: Tensor  # [4H, n_in]
    recurrent: Tensor  # [4H, H]
    bias: Tensor  # [4H] the sum of both biases

    @classmethod
    def of_cell(cls, cell: nn.LSTMCell) -> LstmWeights:
        return cls(cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh)


class DecoderWeights(NamedTuple):
    """The decoder's weights as free-running decoding reads them."""

    module: nn.Module  # the owner of the weights, for which tensors derived from them are cached
    prenet: tuple[Tensor, Tensor]  # [P, n_mel·r], [P, P]
    attention_lstm: LstmWeights  # input: prenet output and context
    decoder_lstm: LstmWeights  # input: attention LSTM's hidden state and context
    memory: Tensor  # [A, E]
    query: Tensor  # [A, H]
    location: Tensor  # [2K, A]
    energy: Tensor  # [A]
    output: Tensor  # [n_mel·r + 1, D + E] to frames and gate logit
    output_bias: Tensor  # [n_mel·r + 1]


class DecodeOptions(NamedTuple):
    """Settings of one free-running pass."""

    max_steps: int
    dtype: torch.dtype  # product format: the number format of the large products
    gate_threshold: float
    p_prenet_dropout: float


class DecoderState(NamedTuple):
    """Weights, memory and buffers for B items."""

    prenet: tuple[Tensor, Tensor]  # [P, n_mel·r], [P, P]
    query: Tensor  # [H, A]
    location: Tensor  # [2K, A]
    energy: Tensor  # [A]
    attention_biases: Tensor  # [B, 4H] product format
    decoder_biases: Tensor  # [B, 4D] product format
    output: Tensor  # [n_mel·r + 1, D + E]
    output_bias: Tensor  # [n_mel·r + 1]
    lengths: Tensor  # [B] tokens
    memory: Tensor  # [B, N, E] product format
    processed_memory: Tensor  # [B, N, A] the memory's share of the features; product format
    keep: Tensor  # [steps, 2, B, P] scaled dropout masks of the prenet
    outputs: Tensor  # [steps, B, n_mel·r + 1] frames and gate logit
    alignments: Tensor  # [steps, B, N]
    attention_input: Tensor  # [B, P + E + H] prenet output, context, attention hidden state; product format
    decoder_input: Tensor  # [B, E + H + D] context, attention and decoder hidden state; product format
    attention_cell: Tensor  # [B, H]
    decoder_cell: Tensor  # [B, D]
    history: Tensor  # [B, 2, N + K - 1] last and cumulative attention, with zeros on both sides

    def reset(self) -> None:
        """Go back to the state before the first step."""
        recurrent = self.attention_input, self.decoder_input, self.attention_cell, self.decoder_cell, self.history
        for buffer in (self.outputs, *recurrent):
            buffer.zero_()


class NumbaSteps:
    """A decoder step on a CPU, in the parts before, between and after its two large products."""

    def __init__(self, state: DecoderState) -> None:
        s, (batch, n_tokens, width), new = state, state.memory.shape, state.attention_cell.new_zeros
        query, windows = new(batch, s.query.size(1)), new(batch, n_tokens, 2, s.location.size(0) // 2)
        location, no_features = new(s.processed_memory.shape), s.processed_memory.new_empty(batch, n_tokens, 0)
        hidden, decoder_hidden = torch.zeros_like(s.attention_cell), torch.zeros_like(s.decoder_cell)
        context_and_hidden = s.memory.new_zeros(batch, width + hidden.size(1))
        projection_input = new(batch, s.output.size(1))
        self._state, self._hidden, self._query_features = s, hidden, query
        self._windows, self._location_features = windows.view(-1, len(s.location)), location.flatten(0, 1)
        self._query_weight, self._output_weight = s.query.contiguous(), s.output.t().contiguous()
        self._prenet_weights = [weight.t().contiguous() for weight in s.prenet]
        self._projection_input = projection_input
        self._alignments, self._keep = list(numpy_view(s.alignments)), numpy_view(s.keep)
        self._attention_lstm = _bind(
            decode_steps.attention_lstm,
            *(s.attention_biases, torch.ones_like(hidden), new(s.attention_biases.shape), s.attention_cell),
            *(hidden, context_and_hidden, s.history, windows),
        )
        self._attention = _bind(
            decode_steps.attention,
            *(location, s.processed_memory, query, s.energy, s.lengths, s.memory, s.history, no_features),
            *(context_and_hidden, s.attention_input, s.decoder_input),
        )
        self._decoder_lstm = _bind(
            decode_steps.decoder_lstm,
            *(s.decoder_biases, torch.ones_like(decoder_hidden), new(s.decoder_biases.shape), s.decoder_cell),
            *(decoder_hidden, s.decoder_input, projection_input),
        )
        self._prenet_products = [new(batch, weight.size(1)) for weight in self._prenet_weights]
        first, second = self._prenet_products
        self._relu_dropout = [
            _bind(decode_steps.relu_dropout, first, first),
            _bind(decode_steps.relu_dropout, second, s.attention_input),
        ]

    def run_prenet(self, t: int) -> None:
        """From the frames of the step before to the beginning of the attention LSTM's input."""
        x = self._state.outputs[t - 1, :, :-1]
        for i, weight in enumerate(self._prenet_weights):
            torch.mm(x, weight, out=self._prenet_products[i])
            self._relu_dropout[i](self._keep[t, i])
            x = self._prenet_products[i]

    def attend(self, t: int, product: Tensor) -> None:
        """From the attention LSTM's product [B, 4H] to the alignment and the decoder LSTM's input."""
        self._attention_lstm(numpy_view(product))
        torch.mm(self._hidden, self._query_weight, out=self._query_features)
        torch.mm(self._windows, self._state.location, out=self._location_features)
        self._attention(self._alignments[t])

    def project(self, t: int, product: Tensor) -> None:
        """From the decoder LSTM's product [B, 4D] to frames and gate."""
        self._decoder_lstm(numpy_view(product))
        torch.addmm(self._state.output_bias, self._projection_input, self._output_weight, out=self._state.outputs[t])


def _bind(function: Callable[..., Any], *tensors: Tensor) -> Callable[..., Any]:
    return partial(function, torch.get_num_threads(), *map(numpy_view, tensors))


class TorchSteps:
    """The parts of `NumbaSteps` in torch operations, for a GPU."""

    def __init__(self, state: DecoderState) -> None:
        self._state, n_tokens = state, state.memory.size(1)
        self._padding = state.location.size(0) // 4
        self._is_padding = torch.arange(n_tokens, device=state.memory.device) >= state.lengths.unsqueeze(1)
        self._hidden = torch.zeros_like(state.attention_cell)
        self._decoder_hidden = torch.zeros_like(state.decoder_cell)

    def run_prenet(self, t: int) -> None:
        x = self._state.outputs[t - 1, :, :-1]
        for weight, keep in zip(self._state.prenet, self._state.keep[t], strict=True):
            x = F.relu(F.linear(x, weight)) * keep
        self._state.attention_input[:, : x.size(1)] = x

    def attend(self, t: int, product: Tensor) -> None:
        s, n_tokens = self._state, self._state.memory.size(1)
        _lstm_step(product, s.attention_biases, s.attention_cell, self._hidden)
        windows = s.history.unfold(2, s.location.size(0) // 2, 1).transpose(1, 2)
        features = windows.flatten(2) @ s.location + s.processed_memory + (self._hidden @ s.query).unsqueeze(1)
        energies = (torch.tanh(features) @ s.energy).masked_fill(self._is_padding, -torch.inf)
        attention = torch.softmax(energies, 1)
        history = s.history[..., self._padding :][..., :n_tokens]
        history[:, 0] = attention
        history[:, 1] += attention
        s.alignments[t] = attention
        context = torch.bmm(attention.unsqueeze(1).to(s.memory.dtype), s.memory).squeeze(1)
        context_and_hidden = torch.cat([context, self._hidden.to(context.dtype)], 1)
        s.decoder_input[:, : context_and_hidden.size(1)] = context_and_hidden
        s.attention_input[:, -context_and_hidden.size(1) :] = context_and_hidden

    def project(self, t: int, product: Tensor) -> None:
        s, hidden = self._state, self._decoder_hidden
        _lstm_step(product, s.decoder_biases, s.decoder_cell, hidden)
        context = s.decoder_input[:, : s.memory.size(2)].to(hidden.dtype)
        s.decoder_input[:, -hidden.size(1) :] = hidden
        torch.addmm(s.output_bias, torch.cat([hidden, context], 1), s.output.t(), out=s.outputs[t])


def _lstm_step(product: Tensor, biases: Tensor, cell: Tensor, hidden: Tensor) -> None:
    input_gate, forget_gate, candidate, output_gate = (product.to(cell.dtype) + biases).chunk(4, dim=1)
    torch.addcmul(torch.sigmoid(forget_gate) * cell, torch.sigmoid(input_gate), torch.tanh(candidate), out=cell)
    torch.mul(torch.sigmoid(output_gate), torch.tanh(cell), out=hidden)
