"""The steps of an attention scan on a CPU: one pass of numba beside each matrix product."""

from __future__ import annotations

import torch
from torch import Tensor

from models.kernels.bfloat16 import array_of
from models.kernels.packed_linear import RepeatedProduct
from models.tacotron2.attention_buffers import Given, StepGradients, Tape
from models.tacotron2.attention_cpu_steps import (
    attend,
    attend_back,
    cut_windows,
    fold_windows,
    step_lstm,
    step_lstm_back,
)


def scan(tape: Tape, given: Given, inputs: Tensor) -> None:
    """Fill the tape, from the prenet's share of the gates [S, B, 4H], which are short."""
    w, memory = given.weights, given.memory
    (n_steps, batch, n_tokens, dim), n_hidden = tape.features.shape, tape.cells.size(2)
    windows, query = w.query.new_empty(batch, n_tokens, 2, w.location.size(0) // 2), w.query.new_empty(batch, dim)
    located, hidden = w.query.new_empty(batch, n_tokens, dim), w.query.new_empty(batch, n_hidden)
    flat_windows, flat_located = windows.view(batch * n_tokens, -1), located.view(batch * n_tokens, -1)
    recurrent = RepeatedProduct(w.recurrent.t(), given.dtype, batch)
    all_states, n_threads = tape.states.unbind(), torch.get_num_threads()
    states, cells, looked, gates, features = (list(array_of(each)) for each in tape)
    heard, kept = (list(array_of(each)) for each in (inputs, given.keep))
    cut, at, said, asked, energy, lengths, projected, remembered = (
        array_of(each.contiguous())
        for each in (windows, located, hidden, query, w.energy, given.lengths, given.projected, memory)
    )
    for t in range(n_steps):
        product = array_of(recurrent(all_states[t]))
        step_lstm(n_threads, product, heard[t], cells[t], kept[t], gates[t], cells[t + 1], said, states[t + 1])
        cut_windows(n_threads, looked[t], cut)
        torch.mm(hidden, w.query, out=query)
        torch.mm(flat_windows, w.location, out=flat_located)
        attend(
            *(n_threads, at, projected, asked, energy, lengths, remembered, looked[t]),
            *(features[t], looked[t + 1], states[t + 1]),
        )


def scan_back(tape: Tape, given: Given, d_states: Tensor, d_attention: Tensor) -> StepGradients:
    """From the gradients of states [S, B, E + H] and attention [S, B, N], both of which it changes."""
    w, memory = given.weights, given.memory
    (n_steps, batch, n_tokens, dim), n_hidden = tape.features.shape, tape.cells.size(2)
    new = w.query.new_empty
    d = StepGradients(
        states=d_states,
        gates=torch.empty_like(tape.gates, dtype=given.dtype),
        queries=new(n_steps, batch, dim),
        projected=torch.zeros_like(given.projected, dtype=w.query.dtype),
        location=torch.zeros_like(w.location),
        energy=w.energy.new_zeros(batch, dim),
    )
    d_last, d_sum = w.query.new_zeros(2, batch, n_tokens).unbind()
    windows, d_features = new(batch, n_tokens, 2, w.location.size(0) // 2), torch.empty_like(d.projected)
    d_windows, d_cell, d_hidden = torch.empty_like(windows), torch.zeros_like(tape.cells[0]), new(batch, n_hidden)
    flat_windows, flat_d_windows = windows.view(batch * n_tokens, -1), d_windows.view(batch * n_tokens, -1)
    flat_d_features, recurrent = d_features.view(-1, dim), RepeatedProduct(w.recurrent, given.dtype, batch)
    n_threads = torch.get_num_threads()
    all_gates, all_queries, product = d.gates.unbind(), d.queries.unbind(), array_of(torch.zeros_like(d_states[0]))
    _, cells, looked, gates, features = (list(array_of(each)) for each in tape)
    attention, kept, of_states, of_gates, of_queries, of_attention = (
        list(array_of(each)) for each in (tape.attention, given.keep, d.states, d.gates, d.queries, d_attention)
    )
    energy, lengths, remembered = (array_of(each.contiguous()) for each in (w.energy, given.lengths, memory))
    of_projected, of_energy, of_last, of_sum, of_features, of_windows, of_cell, of_hidden, cut = (
        array_of(each)
        for each in (d.projected, d.energy, d_last, d_sum, d_features, d_windows, d_cell, d_hidden, windows)
    )
    for t in reversed(range(n_steps)):
        d_weights = of_attention[t]
        d_weights += of_last + of_sum
        attend_back(
            *(n_threads, of_states[t], product, d_weights, remembered, attention[t], features[t], energy, lengths),
            *(of_hidden, of_features, of_queries[t], of_energy, of_projected),
        )
        cut_windows(n_threads, looked[t], cut)
        d.location.addmm_(flat_windows.t(), flat_d_features)
        torch.mm(flat_d_features, w.location.t(), out=flat_d_windows)
        fold_windows(n_threads, of_windows, of_last, of_sum)
        d_hidden.addmm_(all_queries[t], w.query.t())
        step_lstm_back(n_threads, of_hidden, of_cell, gates[t], cells[t], cells[t + 1], kept[t], of_gates[t])
        if t:
            product = array_of(recurrent(all_gates[t]))
    return d._replace(energy=d.energy.sum(0))
