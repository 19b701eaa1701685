"""Location-sensitive attention over all steps of a teacher-forced pass, with its gradient worked out by hand.

Stepping through time in autograd pays for a node per operation and adds up every weight's gradient step by step. Here
the steps only do what depends on the step before; the gradients of the large weights are one product over all steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.attention_steps import attend, attend_back, cut_windows, fold_windows, step_lstm, step_lstm_back
from models.repeated_product import RepeatedProduct


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


class Tape(NamedTuple):
    """What the steps leave, for those after them and for the way back."""

    states: Tensor  # [S + 1, B, E + H] context and hidden state before each step, and after the last
    cells: Tensor  # [S + 1, B, H]
    looked: Tensor  # [S + 1, B, 2, N + K - 1] the last attention and the sum of all, with zeros on both sides
    gates: Tensor  # [S, B, 4H] activated
    features: Tensor  # [S, B, N, A] tanh of what the energies are made of

    @classmethod
    def blank(cls, inputs: Tensor, projected: Tensor, *, width: int, kernel_size: int) -> Tape:
        (n_steps, batch, n_gates), (_, n_tokens, _) = inputs.shape, projected.shape
        zeros = inputs.new_zeros
        return cls(
            states=zeros(n_steps + 1, batch, width + n_gates // 4),
            cells=zeros(n_steps + 1, batch, n_gates // 4),
            looked=zeros(n_steps + 1, batch, 2, n_tokens + kernel_size - 1),
            gates=torch.empty_like(inputs),
            features=inputs.new_empty(n_steps, *projected.shape),
        )

    @property
    def attention(self) -> Tensor:
        """[S, B, N]"""
        before = (self.looked.size(3) - self.features.size(2) + 1) // 2
        return self.looked[1:, :, 0, before : before + self.features.size(2)]


class AttentionScan(torch.autograd.Function):
    """(inputs [S, B, 4H], memory [B, N, E], projected memory [B, N, A], lengths [B], keep [S, B, H], dtype of the
    large products, *ScanWeights) → hidden states [S, B, H], contexts [S, B, E], attention [S, B, N]; `keep` is the
    scaled dropout mask.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        memory: Tensor,
        projected: Tensor,
        lengths: Tensor,
        keep: Tensor,
        dtype: torch.dtype,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w, width = ScanWeights(*weights), memory.size(2)
        tape = Tape.blank(inputs, projected, width=width, kernel_size=w.location.size(0) // 2)
        _scan_on_cpu(tape, inputs, memory.contiguous(), projected.contiguous(), lengths, keep, dtype, w)
        attention = tape.attention.contiguous()
        ctx.save_for_backward(memory, lengths, keep, attention, *tape, *weights)
        ctx.dtype = dtype
        contexts, hiddens = tape.states[1:].split([width, tape.cells.size(2)], dim=2)
        return hiddens.contiguous(), contexts.contiguous(), attention.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hiddens: Tensor, d_contexts: Tensor, d_attention: Tensor) -> tuple[Tensor | None, ...]:
        memory, lengths, keep, attention, *others = ctx.saved_tensors
        tape, w, dtype = Tape(*others[: len(Tape._fields)]), ScanWeights(*others[len(Tape._fields) :]), ctx.dtype
        d_states = torch.cat([d_contexts, d_hiddens], dim=2)
        d_gates, d_queries, d_projected, d_location, d_energy = _scan_back_on_cpu(
            tape, d_states, d_attention.clone(), memory.contiguous(), attention, lengths, keep, dtype, w
        )
        width = memory.size(2)
        d_memory = torch.bmm(attention.permute(1, 2, 0), d_states[..., :width].transpose(0, 1))
        before, changes = tape.states[:-1].flatten(0, 1).to(dtype), d_gates.flatten(0, 1).to(dtype)
        d_recurrent = (before.t() @ changes).to(w.recurrent.dtype)
        d_query = tape.states[1:, :, width:].flatten(0, 1).t() @ d_queries.flatten(0, 1)
        return d_gates, d_memory, d_projected, None, None, None, d_recurrent, d_query, d_location, d_energy


def _scan_on_cpu(
    tape: Tape,
    inputs: Tensor,
    memory: Tensor,
    projected: Tensor,
    lengths: Tensor,
    keep: Tensor,
    dtype: torch.dtype,
    w: ScanWeights,
) -> None:
    (n_steps, batch, n_tokens, dim), width = tape.features.shape, memory.size(2)
    windows = inputs.new_empty(batch, n_tokens, 2, w.location.size(0) // 2)
    query, recurrent = inputs.new_empty(batch, dim), RepeatedProduct(w.recurrent.t(), dtype, batch)
    states, cells, looked, gates, features = (each.numpy() for each in tape)
    constant = projected.numpy(), query.numpy(), w.energy.contiguous().numpy(), lengths.numpy(), memory.numpy()
    kept, cut = keep.numpy(), windows.numpy()
    for t in range(n_steps):
        recurrent.add_to(inputs[t], tape.states[t], out=tape.gates[t])
        step_lstm(gates[t], cells[t], kept[t], cells[t + 1], states[t + 1])
        torch.mm(tape.states[t + 1, :, width:], w.query, out=query)
        cut_windows(looked[t], cut)
        torch.mm(windows.view(batch * n_tokens, -1), w.location, out=tape.features[t].view(-1, dim))
        attend(features[t], *constant, looked[t], looked[t + 1], states[t + 1])


def _scan_back_on_cpu(
    tape: Tape,
    d_states: Tensor,
    d_attention: Tensor,
    memory: Tensor,
    attention: Tensor,
    lengths: Tensor,
    keep: Tensor,
    dtype: torch.dtype,
    w: ScanWeights,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of gates [S, B, 4H], queries [S, B, A], projected memory, location and energy weights."""
    (n_steps, batch, n_tokens, dim), width = tape.features.shape, memory.size(2)
    d_gates, d_queries = torch.empty_like(tape.gates), memory.new_empty(n_steps, batch, dim)
    d_projected, d_location = torch.zeros_like(tape.features[0]), torch.zeros_like(w.location)
    d_energy_weight, d_features = torch.zeros_like(w.energy), torch.empty_like(d_projected)
    d_last, d_sum = memory.new_zeros(2, batch, n_tokens).unbind()
    windows = memory.new_empty(batch, n_tokens, 2, w.location.size(0) // 2)
    d_windows, d_cell = torch.empty_like(windows), torch.zeros_like(tape.cells[0])
    recurrent, query, location = RepeatedProduct(w.recurrent, dtype, batch), w.query.t(), w.location.t()
    states, cells, looked, gates, features = (each.numpy() for each in tape)
    of_states, of_attention, of_gates, of_queries = (
        each.numpy() for each in (d_states, d_attention, d_gates, d_queries)
    )
    pasts = d_last.numpy(), d_sum.numpy()
    memory_, attention_, energy, lengths_, kept = (
        each.numpy() for each in (memory, attention, w.energy.contiguous(), lengths, keep)
    )
    sums = d_energy_weight.numpy(), d_projected.numpy()
    cut, d_cut, of_features, of_cell = (each.numpy() for each in (windows, d_windows, d_features, d_cell))
    for t in reversed(range(n_steps)):
        attend_back(
            of_states[t], of_attention[t], *pasts, memory_, attention_[t], features[t], energy, lengths_,
            of_features, of_queries[t], *sums,
        )
        cut_windows(looked[t], cut)
        d_location.addmm_(windows.view(batch * n_tokens, -1).t(), d_features.view(-1, dim))
        torch.mm(d_features.view(-1, dim), location, out=d_windows.view(batch * n_tokens, -1))
        fold_windows(d_cut, *pasts)
        d_states[t, :, width:].addmm_(d_queries[t], query)
        step_lstm_back(of_states[t], of_cell, gates[t], cells[t], cells[t + 1], kept[t], of_gates[t])
        if t:
            recurrent.add_to(d_states[t - 1], d_gates[t], out=d_states[t - 1])
    return d_gates, d_queries, d_projected, d_location, d_energy_weight
