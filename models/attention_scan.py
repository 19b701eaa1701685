"""Location-sensitive attention over all steps of a teacher-forced pass, with its gradient worked out by hand.

Stepping through time in autograd pays for a node per operation and adds up every weight's gradient step by step. Here
the steps only do what depends on the step before; the gradients of the large weights are one product over all steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

_SOFTMAX_BACKWARD = torch.ops.aten._softmax_backward_data.default
_TANH_BACKWARD = torch.ops.aten.tanh_backward.grad_input


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
        looked = inputs.new_zeros(n_steps + 1, batch, 2, n_tokens + kernel_size - 1)  # at before: last, sum; padded
        last, summed = looked[..., kernel_size // 2 :][..., :n_tokens].unbind(2)
        around = looked.unfold(3, kernel_size, 1).transpose(2, 3)
        gates = torch.empty_like(inputs)
        features = inputs.new_empty(n_steps, *projected.shape)  # tanh of what the energies are made of
        windows = inputs.new_empty(n_steps, batch, n_tokens, 2, kernel_size)
        for t in range(n_steps):
            gate = torch.addmm(inputs[t], states[t], w.recurrent, out=gates[t])
            into, forget, candidate, out = gate.chunk(4, dim=1)
            gate[:, : 2 * n_hidden].sigmoid_()
            candidate.tanh_()
            out.sigmoid_()
            torch.addcmul(forget * cells[t], into, candidate, out=cells[t + 1])
            hidden = torch.tanh(cells[t + 1]).mul_(out).mul_(keep[t])
            windows[t].copy_(around[t])
            feature = torch.matmul(windows[t].flatten(2), w.location, out=features[t])
            feature.add_(projected).add_((hidden @ w.query).unsqueeze(1)).tanh_()
            energies = (feature @ w.energy).masked_fill_(closed, -torch.inf)
            a = torch.softmax(energies, dim=1, out=last[t + 1])
            torch.add(summed[t], a, out=summed[t + 1])
            states[t + 1, :, : memory.size(2)] = torch.bmm(a.unsqueeze(1), memory).squeeze(1)
            states[t + 1, :, memory.size(2) :] = hidden
        attention = last[1:].contiguous()
        ctx.save_for_backward(memory, keep, states, cells, attention, gates, features, windows, *weights)
        contexts, hiddens = states[1:].split([memory.size(2), n_hidden], dim=2)
        return hiddens.contiguous(), contexts.contiguous(), attention.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hiddens: Tensor, d_contexts: Tensor, d_attention: Tensor) -> tuple[Tensor | None, ...]:
        memory, keep, states, cells, attention, gates, features, windows, *weights = ctx.saved_tensors
        w = ScanWeights(*weights)
        (n_steps, batch, n_tokens, dim), width = features.shape, memory.size(2)
        n_hidden, kernel_size = keep.size(2), w.location.size(0) // 2
        d_context, d_queries = d_contexts.clone(), gates.new_empty(n_steps, batch, dim)
        d_energy_weight = torch.zeros_like(w.energy)
        slopes, cell_slopes = _lstm_slopes(gates.unflatten(2, (4, n_hidden)), cells)
        d_gates, forgets = torch.empty_like(gates), gates[..., n_hidden : 2 * n_hidden]
        d_last = d_sum = memory.new_zeros(batch, n_tokens)  # of the attention that the next step looked back at
        d_hidden, d_cell = torch.zeros_like(keep[0]), torch.zeros_like(cells[0])
        for t in reversed(range(n_steps)):
            feature = features[t]
            d_a = torch.bmm(memory, d_context[t].unsqueeze(2)).squeeze(2).add_(d_attention[t]).add_(d_last).add_(d_sum)
            d_energy = _SOFTMAX_BACKWARD(d_a, attention[t], 1, d_a.dtype)
            d_energy_weight.addmv_(feature.view(-1, dim).t(), d_energy.view(-1))
            # The features are not needed any more: their gradient takes their place.
            d_feature = _TANH_BACKWARD(d_energy.unsqueeze(2) * w.energy, feature, grad_input=feature)
            torch.sum(d_feature, 1, out=d_queries[t])
            d_windows = (d_feature @ w.location.t()).view(batch, n_tokens, 2, kernel_size).permute(0, 2, 1, 3)
            d_before = _fold(d_windows, n_tokens, kernel_size)
            d_last, d_sum = d_before[:, 0], d_sum + d_before[:, 1]
            d_hidden = torch.addmm(d_hidden + d_hiddens[t], d_queries[t], w.query.t()).mul_(keep[t])
            d_cell = torch.addcmul(d_cell, d_hidden, cell_slopes[t])
            d_gate, slope = d_gates[t].view(batch, 4, n_hidden), slopes[t]
            torch.mul(d_cell.unsqueeze(1), slope[:, :3], out=d_gate[:, :3])
            torch.mul(d_hidden, slope[:, 3], out=d_gate[:, 3])
            d_cell = d_cell * forgets[t]
            d_state = d_gates[t] @ w.recurrent.t()
            d_hidden = d_state[:, width:]
            if t:
                d_context[t - 1] += d_state[:, :width]
        d_memory = torch.bmm(attention.permute(1, 2, 0), d_context.transpose(0, 1))
        d_recurrent = states[:-1].flatten(0, 1).t() @ d_gates.flatten(0, 1)
        d_query = states[1:, :, width:].flatten(0, 1).t() @ d_queries.flatten(0, 1)
        d_location = windows.view(-1, 2 * kernel_size).t() @ features.view(-1, dim)
        d_weights = (d_recurrent, d_query, d_location, d_energy_weight)
        return d_gates, d_memory, features.sum(0), None, None, *d_weights


def _lstm_slopes(gates: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Of all steps at once, from gates [S, B, 4, H] and cells [S + 1, B, H]: what each gate's input does to the cell,
    the last one's to the hidden state [S, B, 4, H], and the cell to the hidden state [S, B, H].
    """
    into, forget, candidate, out = gates.unbind(2)
    squashed = torch.tanh(cells[1:])
    slopes = torch.empty_like(gates)
    torch.mul(candidate, into - into * into, out=slopes[:, :, 0])
    torch.mul(cells[:-1], forget - forget * forget, out=slopes[:, :, 1])
    torch.mul(into, 1 - candidate * candidate, out=slopes[:, :, 2])
    torch.mul(squashed, out - out * out, out=slopes[:, :, 3])
    return slopes, out * (1 - squashed * squashed)


def _fold(d_windows: Tensor, n_tokens: int, kernel_size: int) -> Tensor:
    """The transpose of cutting windows: [B, 2, N, K] → [B, 2, N]."""
    padded = (*d_windows.shape[:2], n_tokens + kernel_size - 1)
    summed = torch.ops.aten.unfold_backward(d_windows, padded, 2, kernel_size, 1)
    return summed[:, :, kernel_size // 2 : kernel_size // 2 + n_tokens]
