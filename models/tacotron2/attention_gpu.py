"""The steps of an attention scan on a GPU, recorded once as a CUDA graph of a stretch of steps and then replayed.

A step is some twenty tiny kernels: launched one by one from Python, the GPU would wait most of the time. A graph wants
fixed addresses and sizes, so a stretch has buffers of its own, whose sizes are rounded up: few serve all batches.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from models.kernels.cuda_graph import recorded
from models.tacotron2.attention_buffers import Given, ScanWeights, StepGradients, Tape

STEPS, ROWS, TOKENS = 16, 8, 32
"""Of a stretch; batch and tokens are rounded up to multiples."""
KEPT = 4
"""Stretches of different sizes, whose buffers take tens of megabytes each."""


@dataclass(frozen=True)
class Sizes:
    """What a stretch is made for."""

    batch: int
    n_tokens: int
    n_hidden: int
    width: int
    dim: int
    kernel_size: int
    dtype: torch.dtype
    products: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, given: Given) -> Sizes:
        batch, n_tokens, width = given.memory.shape
        n_hidden, dim = given.weights.query.shape
        return cls(
            *(-(-batch // ROWS) * ROWS, -(-n_tokens // TOKENS) * TOKENS, n_hidden, width, dim),
            *(given.weights.location.size(0) // 2, given.keep.dtype, given.dtype, given.memory.device),
        )


class Stretch:
    """Buffers for a few steps, and what is to be done there and back."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = s = sizes
        zeros = torch.zeros((), dtype=s.dtype, device=s.device).new_zeros
        state = s.width + s.n_hidden
        self.memory, self.projected = zeros(s.batch, s.n_tokens, s.width), zeros(s.batch, s.n_tokens, s.dim)
        self.closed = torch.zeros(s.batch, s.n_tokens, dtype=torch.bool, device=s.device)
        self.weights = ScanWeights(
            zeros(state, 4 * s.n_hidden).to(s.products),
            *(zeros(s.n_hidden, s.dim), zeros(2 * s.kernel_size, s.dim), zeros(s.dim)),
        )
        self.inputs, self.keep = zeros(STEPS, s.batch, 4 * s.n_hidden), zeros(STEPS, s.batch, s.n_hidden)
        self.tape = Tape.blank(self.keep, self.projected, width=s.width, kernel_size=s.kernel_size)
        self.windows = zeros(s.batch, s.n_tokens, 2, s.kernel_size)
        self.d = StepGradients(
            *(zeros(STEPS, s.batch, state), zeros(STEPS, s.batch, 4 * s.n_hidden), zeros(STEPS, s.batch, s.dim)),
            *(torch.zeros_like(self.projected), torch.zeros_like(self.weights.location), zeros(s.dim)),
        )
        self.d_attention, self.d_energies = zeros(2, STEPS, s.batch, s.n_tokens).unbind()
        self.d_features, self.d_cell = torch.zeros_like(self.tape.features), torch.zeros_like(self.tape.cells[0])
        self.d_looked, self.d_state = zeros(2, s.batch, s.n_tokens), zeros(s.batch, state)
        self.forward, self.backward = recorded(self._forward, s.device), recorded(self._backward, s.device)

    def _forward(self) -> None:
        """All steps from what the tape begins with; it then begins with what it ended with."""
        w, tape, width = self.weights, self.tape, self.sizes.width
        last, summed = _middle(tape.looked, self.sizes).unbind(2)
        around = tape.looked.unfold(3, self.sizes.kernel_size, 1).transpose(2, 3)
        for t in range(STEPS):
            product = tape.states[t].to(w.recurrent.dtype) @ w.recurrent
            hidden = tape.states[t + 1, :, width:]
            _step_lstm(tape, t, self.inputs[t], product.to(self.sizes.dtype), hidden)
            hidden.mul_(self.keep[t])
            self.windows.copy_(around[t])
            feature = torch.matmul(self.windows.flatten(2), w.location, out=tape.features[t])
            feature.add_(self.projected).add_((hidden @ w.query).unsqueeze(1)).tanh_()
            energies = (feature @ w.energy).masked_fill_(self.closed, -torch.inf)
            torch.softmax(energies, dim=1, out=last[t + 1])
            torch.add(summed[t], last[t + 1], out=summed[t + 1])
            tape.states[t + 1, :, :width] = torch.bmm(last[t + 1].unsqueeze(1), self.memory).squeeze(1)

    def _backward(self) -> None:
        """All steps back; what came from the stretch after this one lies in d_cell, d_looked and d_state."""
        w, d, tape, s = self.weights, self.d, self.tape, self.sizes
        last, d_sum = _middle(tape.looked[1:, :, 0], s), self.d_looked[1]
        d.states[-1].add_(self.d_state)
        for t in reversed(range(STEPS)):
            d_weights = torch.bmm(self.memory, d.states[t, :, : s.width].unsqueeze(2)).squeeze(2)
            d_weights.add_(self.d_attention[t]).add_(self.d_looked[0]).add_(d_sum)
            torch.ops.aten._softmax_backward_data.out(d_weights, last[t], 1, s.dtype, grad_input=self.d_energies[t])
            d_feature = torch.ops.aten.tanh_backward.grad_input(
                self.d_energies[t].unsqueeze(2) * w.energy, tape.features[t], grad_input=self.d_features[t]
            )
            torch.sum(d_feature, 1, out=d.queries[t])
            d_windows = (d_feature @ w.location.t()).view_as(self.windows).permute(0, 2, 1, 3)
            d_before = _middle(_unfolded(d_windows), s)
            self.d_looked[0].copy_(d_before[:, 0])
            d_sum.add_(d_before[:, 1])
            d_hidden = torch.addmm(d.states[t, :, s.width :], d.queries[t], w.query.t()).mul_(self.keep[t])
            _step_lstm_back(tape, t, d_hidden, self.d_cell, d.gates[t])
            d_state = (d.gates[t].to(w.recurrent.dtype) @ w.recurrent.t()).to(s.dtype)
            (d.states[t - 1].add_ if t else self.d_state.copy_)(d_state)
        around = tape.looked[:-1].unfold(3, s.kernel_size, 1).transpose(2, 3)
        flat = self.d_features.view(-1, s.dim)
        d.location.addmm_(around.reshape(flat.size(0), -1).t(), flat)
        d.projected.add_(self.d_features.sum(0))
        d.energy.addmv_(tape.features.view(-1, s.dim).t(), self.d_energies.view(-1))

    def forget(self) -> None:
        """What others have left, so that rows, tokens and steps that are only there to round up have no gradient."""
        for buffer in (*self.tape, *self.d, self.d_attention, self.d_cell, self.d_looked, self.d_state, self.keep):
            buffer.zero_()

    def load(self, given: Given) -> None:
        """What is the same in all steps."""
        batch, n_tokens = given.memory.shape[:2]
        for ours, theirs in ((self.memory, given.memory), (self.projected, given.projected)):
            ours.zero_()[:batch, :n_tokens] = theirs
        lengths = torch.ones(self.sizes.batch, dtype=torch.long, device=self.closed.device)
        lengths[:batch] = given.lengths
        places = torch.arange(self.sizes.n_tokens, device=self.closed.device)
        self.closed.copy_(places >= lengths.unsqueeze(1))
        for ours, theirs in zip(self.weights, given.weights, strict=True):
            ours.copy_(theirs)


def _middle(looked: Tensor, s: Sizes) -> Tensor:
    """Without the zeros on both sides."""
    return looked[..., s.kernel_size // 2 :][..., : s.n_tokens]


def _unfolded(d_windows: Tensor) -> Tensor:
    """The transpose of cutting windows: [B, 2, N, K] → [B, 2, N + K - 1]"""
    n_items, n_kinds, n_tokens, kernel_size = d_windows.shape
    size = (n_items, n_kinds, n_tokens + kernel_size - 1)
    return torch.ops.aten.unfold_backward(d_windows, size, 2, kernel_size, 1)


def _step_lstm(tape: Tape, t: int, inputs: Tensor, product: Tensor, hidden: Tensor) -> None:
    """Gates, cell and hidden state of a step."""
    if inputs.device.type == "cuda":
        found, cell, gates = torch.ops.aten._thnn_fused_lstm_cell(inputs, product, tape.cells[t])
        tape.gates[t].copy_(gates.view_as(inputs))
        tape.cells[t + 1].copy_(cell)
        hidden.copy_(found)
        return
    into, forget, candidate, out = torch.add(inputs, product, out=tape.gates[t]).chunk(4, dim=1)
    into.sigmoid_(), forget.sigmoid_(), candidate.tanh_(), out.sigmoid_()
    torch.addcmul(forget * tape.cells[t], into, candidate, out=tape.cells[t + 1])
    hidden.copy_(torch.tanh(tape.cells[t + 1]).mul_(out))


def _step_lstm_back(tape: Tape, t: int, d_hidden: Tensor, d_cell: Tensor, d_gates: Tensor) -> None:
    """Sets the gates' gradient before they were activated; the cell's becomes that of the step before."""
    old, new, gates = tape.cells[t], tape.cells[t + 1], tape.gates[t]
    if gates.device.type == "cuda":
        back = torch.ops.aten._thnn_fused_lstm_cell_backward_impl(d_hidden, d_cell, old, new, gates, False)
        d_gates.copy_(back[0])
        d_cell.copy_(back[1])
        return
    into, forget, candidate, out = gates.chunk(4, dim=1)
    squashed = torch.tanh(new)
    d_new = d_cell + d_hidden * out * (1 - squashed * squashed)
    slopes = (candidate * (into - into * into), old * (forget - forget * forget), into * (1 - candidate * candidate))
    parts = [*(d_new * slope for slope in slopes), d_hidden * squashed * (out - out * out)]
    torch.cat(parts, dim=1, out=d_gates)
    torch.mul(d_new, forget, out=d_cell)


_stretches: OrderedDict[Sizes, Stretch] = OrderedDict()


def forget_stretches() -> None:
    """Their memory is wanted for something else; who needs one makes it anew."""
    _stretches.clear()


def _stretch_for(given: Given) -> Stretch:
    sizes = Sizes.of(given)
    if sizes not in _stretches:
        while len(_stretches) >= KEPT:
            _stretches.popitem(last=False)
        with torch.inference_mode(False), torch.no_grad():
            _stretches[sizes] = Stretch(sizes)
    _stretches.move_to_end(sizes)
    _stretches[sizes].load(given)
    return _stretches[sizes]


def _pieces(n_steps: int) -> list[tuple[slice, int]]:
    """Which steps, and how many."""
    return [(slice(t, min(t + STEPS, n_steps)), min(STEPS, n_steps - t)) for t in range(0, n_steps, STEPS)]


@torch.no_grad()
def scan(tape: Tape, given: Given, inputs: Tensor) -> None:
    """Fill the tape, from the prenet's share of the gates [S, B, 4H]."""
    stretch = _stretch_for(given)
    batch, n_tokens = given.memory.shape[:2]
    seen = n_tokens + stretch.sizes.kernel_size - 1
    own = stretch.tape
    for begun in (own.states, own.cells, own.looked):
        begun[0].zero_()
    for steps, n in _pieces(len(inputs)):
        stretch.inputs[:n, :batch] = inputs[steps]
        stretch.keep[:n, :batch] = given.keep[steps]
        stretch.forward()
        after = slice(steps.start + 1, steps.stop + 1)
        tape.states[after], tape.cells[after] = own.states[1 : n + 1, :batch], own.cells[1 : n + 1, :batch]
        tape.looked[after] = own.looked[1 : n + 1, :batch, :, :seen]
        tape.gates[steps], tape.features[steps] = own.gates[:n, :batch], own.features[:n, :batch, :n_tokens]
        for passed_on in (own.states, own.cells, own.looked):
            passed_on[0].copy_(passed_on[STEPS])


@torch.no_grad()
def scan_back(tape: Tape, given: Given, d_states: Tensor, d_attention: Tensor) -> StepGradients:
    """From the gradients of states [S, B, E + H] and attention [S, B, N]."""
    stretch = _stretch_for(given)
    own, d = stretch.tape, stretch.d
    batch, n_tokens = given.memory.shape[:2]
    seen = n_tokens + stretch.sizes.kernel_size - 1
    stretch.forget()
    d_gates = torch.empty_like(tape.gates, dtype=given.dtype)
    d_queries = tape.gates.new_empty(*tape.gates.shape[:2], stretch.sizes.dim)
    for steps, n in reversed(_pieces(len(tape.gates))):
        stretch.keep[:n, :batch] = given.keep[steps]
        own.cells[: n + 1, :batch] = tape.cells[steps.start : steps.stop + 1]
        own.looked[: n + 1, :batch, :, :seen] = tape.looked[steps.start : steps.stop + 1]
        own.gates[:n, :batch], own.features[:n, :batch, :n_tokens] = tape.gates[steps], tape.features[steps]
        d.states[:n, :batch], stretch.d_attention[:n, :batch, :n_tokens] = d_states[steps], d_attention[steps]
        stretch.backward()
        for all_steps, found in ((d_states, d.states), (d_gates, d.gates), (d_queries, d.queries)):
            all_steps[steps] = found[:n, :batch]
    return StepGradients(
        d_states, d_gates, d_queries, d.projected[:batch, :n_tokens].clone(), d.location.clone(), d.energy.clone()
    )
