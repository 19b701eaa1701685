"""The steps of an attention scan on a CPU: one pass of numba beside each matrix product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.attention_steps import attend, attend_back, cut_windows, fold_windows, step_lstm, step_lstm_back
from models.attention_tape import Given, Glance, ScanWeights, StepGradients, Tape
from models.repeated_product import RepeatedProduct


def scan(tape: Tape, given: Given) -> None:
    """Fill the tape."""
    w, memory = given.weights, given.memory
    (n_steps, batch, n_tokens, dim), width = tape.features.shape, memory.size(2)
    windows, query = memory.new_empty(batch, n_tokens, 2, w.location.size(0) // 2), memory.new_empty(batch, dim)
    recurrent = RepeatedProduct(w.recurrent.t(), given.dtype, batch)
    states, cells, looked, gates, features = (each.numpy() for each in tape)
    kept, cut, projected, asked, energy, lengths, remembered = (
        each.contiguous().numpy()
        for each in (given.keep, windows, given.projected, query, w.energy, given.lengths, memory)
    )
    for t in range(n_steps):
        recurrent.add_to(given.inputs[t], tape.states[t], out=tape.gates[t])
        step_lstm(gates[t], cells[t], kept[t], cells[t + 1], states[t + 1])
        torch.mm(tape.states[t + 1, :, width:], w.query, out=query)
        cut_windows(looked[t], cut)
        torch.mm(windows.view(batch * n_tokens, -1), w.location, out=tape.features[t].view(-1, dim))
        attend(features[t], projected, asked, energy, lengths, remembered, looked[t], looked[t + 1], states[t + 1])


def scan_back(tape: Tape, given: Given, d_states: Tensor, d_attention: Tensor) -> StepGradients:
    """From the gradients of states [S, B, E + H] and attention [S, B, N], both of which it changes."""
    w, memory = given.weights, given.memory
    (n_steps, batch, n_tokens, dim), width = tape.features.shape, memory.size(2)
    d = StepGradients(
        states=d_states,
        gates=torch.empty_like(tape.gates),
        queries=memory.new_empty(n_steps, batch, dim),
        projected=torch.zeros_like(tape.features[0]),
        location=torch.zeros_like(w.location),
        energy=torch.zeros_like(w.energy),
    )
    d_last, d_sum = memory.new_zeros(2, batch, n_tokens).unbind()
    windows, d_features = memory.new_empty(batch, n_tokens, 2, w.location.size(0) // 2), torch.empty_like(d.projected)
    d_windows, d_cell = torch.empty_like(windows), torch.zeros_like(tape.cells[0])
    flat_windows, flat_d_windows = windows.view(batch * n_tokens, -1), d_windows.view(batch * n_tokens, -1)
    flat_d_features, recurrent = d_features.view(-1, dim), RepeatedProduct(w.recurrent, given.dtype, batch)
    _, cells, looked, gates, features = (each.numpy() for each in tape)
    attention, kept, energy, lengths, remembered = (
        each.contiguous().numpy() for each in (tape.attention, given.keep, w.energy, given.lengths, memory)
    )
    of_states, of_gates, of_queries, of_projected, _, of_energy = (each.numpy() for each in d)
    of_attention, of_last, of_sum, of_features, of_windows, of_cell, cut = (
        each.numpy() for each in (d_attention, d_last, d_sum, d_features, d_windows, d_cell, windows)
    )
    for t in reversed(range(n_steps)):
        d_weights = of_attention[t]
        d_weights += of_last + of_sum
        attend_back(
            *(of_states[t], d_weights, remembered, attention[t], features[t], energy, lengths),
            *(of_features, of_queries[t], of_energy, of_projected),
        )
        cut_windows(looked[t], cut)
        d.location.addmm_(flat_windows.t(), flat_d_features)
        torch.mm(flat_d_features, w.location.t(), out=flat_d_windows)
        fold_windows(of_windows, of_last, of_sum)
        d.states[t, :, width:].addmm_(d.queries[t], w.query.t())
        step_lstm_back(of_states[t], of_cell, gates[t], cells[t], cells[t + 1], kept[t], of_gates[t])
        if t:
            recurrent.add_to(d.states[t - 1], d.gates[t], out=d.states[t - 1])
    return d


def lstm_in_place(gates: Tensor, cell: Tensor, state: Tensor) -> Callable[[], None]:
    """A step from gates [B, 4H] on, in these buffers; the hidden state [B, H] is the end of the state."""
    arrays = gates.numpy(), cell.numpy(), torch.ones_like(cell).numpy(), cell.numpy(), state.numpy()
    return lambda: step_lstm(*arrays)


def attention_in_place(glance: Glance, w: ScanWeights) -> Callable[[], Tensor]:
    """A step in these buffers: the attention [B, N], whose context is the beginning of the state."""
    features, projected, query, lengths, memory, looked, windows, state = (each.numpy() for each in glance)
    flat, energy, found = glance.features.view(-1, glance.features.size(2)), w.energy.numpy(), glance.attention()
    flat_windows = glance.windows.view(len(flat), -1)

    def step() -> Tensor:
        cut_windows(looked, windows)
        torch.mm(flat_windows, w.location, out=flat)
        attend(features, projected, query, energy, lengths, memory, looked, looked, state)
        return found

    return step
