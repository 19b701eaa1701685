"""Attention scan on a CPU: between two matrix products of a step, one numba loop over all items.

It replaces thirty torch operations a step, for which the data is gone from the cache after each product;
`attention_gpu` is the same in torch operations. A training step at the demo's size is 1.1 to 1.3 times as fast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.kernels.bfloat16 import numpy_view
from models.kernels.lstm_steps import lstm_step, lstm_step_back
from models.kernels.packed_linear import PackedLinear
from models.tacotron2.attention_buffers import AttentionBuffers, ScanGradients, ScanInputs
from models.tacotron2.attention_cpu_steps import attend, attend_back, gather_windows, scatter_windows


def scan(buffers: AttentionBuffers, inputs: ScanInputs, gate_inputs: Tensor) -> None:
    """Fill the buffers, given the prenet's share of the gates [S, B, 4H] in product format."""
    w = inputs.weights
    (n_steps, batch, n_tokens, dim), n_hidden = buffers.features.shape, buffers.cells.size(2)
    windows, query = w.query.new_empty(batch, n_tokens, 2, w.location.size(0) // 2), w.query.new_empty(batch, dim)
    location, hidden = w.query.new_empty(batch, n_tokens, dim), w.query.new_empty(batch, n_hidden)
    flat_windows, flat_location = windows.view(batch * n_tokens, -1), location.view(batch * n_tokens, -1)
    recurrent = PackedLinear(w.recurrent.t(), inputs.dtype, batch)
    state_at, n_threads = buffers.states.unbind(), torch.get_num_threads()
    states, cells, history, gates, features = (list(numpy_view(x)) for x in buffers)
    gate_inputs_np, keep = (list(numpy_view(x)) for x in (gate_inputs, inputs.keep))
    windows_np, location_np, hidden_np, query_np = (numpy_view(x) for x in (windows, location, hidden, query))
    energy, lengths, processed_memory, memory = (
        numpy_view(x.contiguous()) for x in (w.energy, inputs.lengths, inputs.processed_memory, inputs.memory)
    )
    for t in range(n_steps):
        product = numpy_view(recurrent(state_at[t]))
        lstm_step(
            *(n_threads, product, gate_inputs_np[t], cells[t], keep[t]),
            *(gates[t], cells[t + 1], hidden_np, states[t + 1]),
        )
        gather_windows(n_threads, history[t], windows_np)
        torch.mm(hidden, w.query, out=query)
        torch.mm(flat_windows, w.location, out=flat_location)
        attend(
            *(n_threads, location_np, processed_memory, query_np, energy, lengths, memory, history[t]),
            *(features[t], history[t + 1], states[t + 1]),
        )


def scan_back(buffers: AttentionBuffers, inputs: ScanInputs, d_states: Tensor, d_attention: Tensor) -> ScanGradients:
    """Compute gradients from those of states [S, B, E + H] and attention [S, B, N], both of which it overwrites."""
    w = inputs.weights
    (n_steps, batch, n_tokens, dim), n_hidden = buffers.features.shape, buffers.cells.size(2)
    new = w.query.new_empty
    d = ScanGradients(
        states=d_states,
        gates=torch.empty_like(buffers.gates, dtype=inputs.dtype),
        queries=new(n_steps, batch, dim),
        processed_memory=torch.zeros_like(inputs.processed_memory, dtype=w.query.dtype),
        location=torch.zeros_like(w.location),
        energy=w.energy.new_zeros(batch, dim),
    )
    d_last, d_cumulative = w.query.new_zeros(2, batch, n_tokens).unbind()
    windows, d_features = new(batch, n_tokens, 2, w.location.size(0) // 2), torch.empty_like(d.processed_memory)
    d_windows, d_cell, d_hidden = torch.empty_like(windows), torch.zeros_like(buffers.cells[0]), new(batch, n_hidden)
    flat_windows, flat_d_windows = windows.view(batch * n_tokens, -1), d_windows.view(batch * n_tokens, -1)
    flat_d_features, recurrent = d_features.view(-1, dim), PackedLinear(w.recurrent, inputs.dtype, batch)
    n_threads, product = torch.get_num_threads(), numpy_view(torch.zeros_like(d_states[0]))
    d_gates_at, d_query_at = d.gates.unbind(), d.queries.unbind()
    _, cells, history, gates, features = (list(numpy_view(x)) for x in buffers)
    attention, keep, d_states_np, d_gates_np, d_queries_np, d_attention_np = (
        list(numpy_view(x)) for x in (buffers.attention, inputs.keep, d.states, d.gates, d.queries, d_attention)
    )
    energy, lengths, memory = (numpy_view(x.contiguous()) for x in (w.energy, inputs.lengths, inputs.memory))
    d_memory_np, d_energy_np, d_last_np, d_cumulative_np, d_features_np, d_windows_np, d_cell_np, d_hidden_np = (
        numpy_view(x)
        for x in (d.processed_memory, d.energy, d_last, d_cumulative, d_features, d_windows, d_cell, d_hidden)
    )
    windows_np = numpy_view(windows)
    for t in reversed(range(n_steps)):
        d_weights = d_attention_np[t]
        d_weights += d_last_np + d_cumulative_np
        attend_back(
            *(n_threads, d_states_np[t], product, d_weights, memory, attention[t], features[t], energy, lengths),
            *(d_hidden_np, d_features_np, d_queries_np[t], d_energy_np, d_memory_np),
        )
        gather_windows(n_threads, history[t], windows_np)
        d.location.addmm_(flat_windows.t(), flat_d_features)
        torch.mm(flat_d_features, w.location.t(), out=flat_d_windows)
        scatter_windows(n_threads, d_windows_np, d_last_np, d_cumulative_np)
        d_hidden.addmm_(d_query_at[t], w.query.t())
        lstm_step_back(n_threads, d_hidden_np, d_cell_np, gates[t], cells[t], cells[t + 1], keep[t], d_gates_np[t])
        if t:
            product = numpy_view(recurrent(d_gates_at[t]))
    return d._replace(energy=d.energy.sum(0))
