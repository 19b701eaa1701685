"""Location-sensitive attention over all steps of a teacher-forced pass, with its gradient worked out by hand.

Stepping through time in autograd pays for a node per operation and adds up every weight's gradient step by step. Here
the steps only do what depends on the step before; the gradients of the large weights are one product over all steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class ScanWeights(NamedTuple):
    """What every step uses."""

    recurrent: Tensor  # [E + H, 4H] of context and hidden state to the LSTM's gates (in, forget, candidate, out)
    query: Tensor  # [H, A]
    location: Tensor  # [2K, A] of the last and the summed attention around each token
    energy: Tensor  # [A]


def location_windows(weights: Tensor, cumulative: Tensor, kernel_size: int) -> Tensor:
    """Around each token, the last attention and the sum of all: two [B, N] → [B, N, 2·K], zero beyond the edges."""
    before = torch.stack([weights, cumulative], dim=1)
    padded = torch.nn.functional.pad(before, (kernel_size // 2, (kernel_size - 1) // 2))
    return padded.unfold(2, kernel_size, 1).permute(0, 2, 1, 3).flatten(2)


class AttentionScan(torch.autograd.Function):
    """(inputs [S, B, 4H], memory [B, N, E], projected memory [B, N, A], closed [B, N], keep [S, B, H], *ScanWeights) →
    hidden states [S, B, H], contexts [S, B, E], attention [S, B, N]; `keep` is the scaled dropout mask.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, memory: Tensor, projected: Tensor, closed: Tensor, keep: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = ScanWeights(*weights)
        n_steps, batch, n_gates = inputs.shape
        n_hidden, n_tokens, kernel_size = n_gates // 4, memory.size(1), w.location.size(0) // 2
        states = inputs.new_zeros(n_steps + 1, batch, memory.size(2) + n_hidden)  # context and hidden before each step
        cells = inputs.new_zeros(n_steps + 1, batch, n_hidden)
        attention = inputs.new_zeros(n_steps + 1, batch, n_tokens)
        cumulative = inputs.new_zeros(batch, n_tokens)
        gates = torch.empty_like(inputs)
        features = inputs.new_empty(n_steps, *projected.shape)  # tanh of what the energies are made of
        windows = inputs.new_empty(n_steps, batch, n_tokens, 2 * kernel_size)
        for t in range(n_steps):
            gate = torch.addmm(inputs[t], states[t], w.recurrent, out=gates[t])
            gate[:, : 2 * n_hidden].sigmoid_()
            gate[:, 2 * n_hidden : 3 * n_hidden].tanh_()
            gate[:, 3 * n_hidden :].sigmoid_()
            into, forget, candidate, out = gate.chunk(4, dim=1)
            torch.addcmul(forget * cells[t], into, candidate, out=cells[t + 1])
            hidden = out * torch.tanh(cells[t + 1]) * keep[t]
            windows[t] = location_windows(attention[t], cumulative, kernel_size)
            feature = torch.matmul(windows[t], w.location, out=features[t])
            feature.add_(projected).add_((hidden @ w.query).unsqueeze(1)).tanh_()
            energies = (feature @ w.energy).masked_fill_(closed, -torch.inf)
            torch.softmax(energies, dim=1, out=attention[t + 1])
            cumulative = cumulative + attention[t + 1]
            states[t + 1, :, : memory.size(2)] = torch.bmm(attention[t + 1].unsqueeze(1), memory).squeeze(1)
            states[t + 1, :, memory.size(2) :] = hidden
        ctx.save_for_backward(memory, keep, states, cells, attention, gates, features, windows, *weights)
        contexts, hiddens = states[1:].split([memory.size(2), n_hidden], dim=2)
        return hiddens.contiguous(), contexts.contiguous(), attention[1:].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hiddens: Tensor, d_contexts: Tensor, d_attention: Tensor) -> tuple[Tensor | None, ...]:
        memory, keep, states, cells, attention, gates, features, windows, *weights = ctx.saved_tensors
        w = ScanWeights(*weights)
        (n_steps, batch, n_tokens, dim), width = features.shape, memory.size(2)
        kernel_size = w.location.size(0) // 2
        d_gates, d_context, d_queries = (
            torch.empty_like(gates),
            d_contexts.clone(),
            gates.new_empty(n_steps, batch, dim),
        )
        d_projected, d_location = torch.zeros_like(features[0]), torch.zeros_like(w.location)
        d_energy_weight = torch.zeros_like(w.energy)
        d_last = d_sum = memory.new_zeros(batch, n_tokens)  # of the attention that the next step looked back at
        d_hidden, d_cell = torch.zeros_like(keep[0]), torch.zeros_like(cells[0])
        for t in reversed(range(n_steps)):
            a, feature = attention[t + 1], features[t]
            d_a = torch.bmm(memory, d_context[t].unsqueeze(2)).squeeze(2).add_(d_attention[t]).add_(d_last).add_(d_sum)
            d_energy = a * (d_a - (d_a * a).sum(1, keepdim=True))
            d_energy_weight.addmv_(feature.view(-1, dim).t(), d_energy.view(-1))
            d_feature = (d_energy.unsqueeze(2) * w.energy).mul_(1 - feature.square())
            d_projected.add_(d_feature)
            torch.sum(d_feature, 1, out=d_queries[t])
            d_location.addmm_(windows[t].view(-1, 2 * kernel_size).t(), d_feature.view(-1, dim))
            d_windows = (d_feature @ w.location.t()).view(batch, n_tokens, 2, kernel_size).permute(0, 2, 1, 3)
            d_before = _fold(d_windows, n_tokens, kernel_size)
            d_last, d_sum = d_before[:, 0], d_sum + d_before[:, 1]
            d_hidden = torch.addmm(d_hidden + d_hiddens[t], d_queries[t], w.query.t()) * keep[t]
            d_cell = _lstm_backward(gates[t], cells[t : t + 2], d_hidden=d_hidden, d_cell=d_cell, d_gates=d_gates[t])
            d_state = d_gates[t] @ w.recurrent.t()
            d_hidden = d_state[:, width:]
            if t:
                d_context[t - 1] += d_state[:, :width]
        d_memory = torch.bmm(attention[1:].permute(1, 2, 0), d_context.transpose(0, 1))
        d_recurrent = states[:-1].flatten(0, 1).t() @ d_gates.flatten(0, 1)
        d_query = states[1:, :, width:].flatten(0, 1).t() @ d_queries.flatten(0, 1)
        d_weights = (d_recurrent, d_query, d_location, d_energy_weight)
        return d_gates, d_memory, d_projected, None, None, *d_weights


def _fold(d_windows: Tensor, n_tokens: int, kernel_size: int) -> Tensor:
    """The transpose of cutting windows: [B, 2, N, K] → [B, 2, N]."""
    padded = (*d_windows.shape[:2], n_tokens + kernel_size - 1)
    summed = torch.ops.aten.unfold_backward(d_windows, padded, 2, kernel_size, 1)
    return summed[:, :, kernel_size // 2 : kernel_size // 2 + n_tokens]


def _lstm_backward(gate: Tensor, cells: Tensor, *, d_hidden: Tensor, d_cell: Tensor, d_gates: Tensor) -> Tensor:
    """Fills d_gates [B, 4H] for a step whose cell went from cells[0] to cells[1]; returns the gradient of cells[0]."""
    into, forget, candidate, out = gate.chunk(4, dim=1)
    d_into, d_forget, d_candidate, d_out = d_gates.chunk(4, dim=1)
    squashed = torch.tanh(cells[1])
    torch.mul(d_hidden * squashed, out - out * out, out=d_out)
    d_cell = d_cell + d_hidden * out * (1 - squashed * squashed)
    torch.mul(d_cell * candidate, into - into * into, out=d_into)
    torch.mul(d_cell * cells[0], forget - forget * forget, out=d_forget)
    torch.mul(d_cell * into, 1 - candidate * candidate, out=d_candidate)
    return d_cell * forget
