"""One step of an LSTM and of its gradient, in numba, as one pass over memory beside the matrix product.

A sequence of torch operations would read the same data many times, and find it gone from the cache after each product:
with these loops a training step of Tacotron 2 is a tenth faster. Functions named `…_item` compute item b; those without
the suffix compute all items in a parallel loop. Arrays "in product format" are in the format of the matrix products,
possibly bfloat16 as `numpy_view` gives it; all others are in the format of the weights. B items, H hidden units. Gates
are in the order input, forget, candidate, output.
"""

from __future__ import annotations

import numpy as np

from models.kernels.bfloat16 import store, to_float
from models.kernels.compile import jit
from models.kernels.fast_tanh import sigmoid, tanh
from models.kernels.openmp_loop import parallel_for

Array = np.ndarray


@jit
def lstm_step_item(
    b: int,
    product: Array,
    inputs: Array,
    cell: Array,
    keep: Array,
    gates: Array,
    new_cell: Array,
    hidden: Array,
    state: Array,
) -> None:
    """Set the gates (activated), the new cell, and the hidden state, which is also the end of `state`.

    Product and inputs [B, 4H] in product format add up to the gates [B, 4H]; cell, keep (scaled dropout mask), new cell
    and hidden state are [B, H]; state [B, at least H] in product format.
    """
    n_hidden = cell.shape[1]
    input_gate, forget_gate, candidate, output_gate = _split_gates(gates[b], n_hidden)
    old_c, new_c, mask, h = cell[b], new_cell[b], keep[b], hidden[b]
    add_row_pair(product[b], inputs[b], gates[b])
    for i in range(2 * n_hidden):
        gates[b, i] = sigmoid(gates[b, i])
    for i in range(n_hidden):
        candidate[i] = tanh(candidate[i])
    for i in range(n_hidden):
        output_gate[i] = sigmoid(output_gate[i])
    for i in range(n_hidden):
        new_c[i] = forget_gate[i] * old_c[i] + input_gate[i] * candidate[i]
    for i in range(n_hidden):
        h[i] = output_gate[i] * tanh(new_c[i]) * mask[i]
    write_row(h, state[b, state.shape[1] - n_hidden :])


@jit
def lstm_step(n_threads: int, *arguments: Array) -> None:
    parallel_for(lstm_step_item, n_threads, len(arguments[0]), arguments)


@jit
def lstm_step_back_item(
    b: int, d_hidden: Array, d_cell: Array, gates: Array, cell: Array, new_cell: Array, keep: Array, d_gates: Array
) -> None:
    """Set d_gates [B, 4H] before activation, in product format; d_cell turns from the new cell's to the old one's."""
    n_hidden = cell.shape[1]
    input_gate, forget_gate, candidate, output_gate = _split_gates(gates[b], n_hidden)
    d_input_gate, d_forget_gate, d_candidate, d_output_gate = _split_gates(d_gates[b], n_hidden)
    old_c, new_c, mask, d_h, d_c = cell[b], new_cell[b], keep[b], d_hidden[b], d_cell[b]
    for i in range(n_hidden):
        squashed, d = tanh(new_c[i]), d_h[i] * mask[i]
        d_c[i] += d * (output_gate[i] - output_gate[i] * squashed * squashed)
        store(d_output_gate, i, d * squashed * (output_gate[i] - output_gate[i] * output_gate[i]))
    for i in range(n_hidden):
        store(d_input_gate, i, d_c[i] * candidate[i] * (input_gate[i] - input_gate[i] * input_gate[i]))
    for i in range(n_hidden):
        store(d_candidate, i, d_c[i] * (input_gate[i] - input_gate[i] * candidate[i] * candidate[i]))
    for i in range(n_hidden):
        store(d_forget_gate, i, d_c[i] * old_c[i] * (forget_gate[i] - forget_gate[i] * forget_gate[i]))
        d_c[i] *= forget_gate[i]


@jit
def lstm_step_back(n_threads: int, *arguments: Array) -> None:
    parallel_for(lstm_step_back_item, n_threads, len(arguments[0]), arguments)


@jit
def _split_gates(row: Array, n: int) -> tuple[Array, Array, Array, Array]:
    return row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]


@jit
def add_row_pair(x: Array, y: Array, total: Array) -> None:
    """Add two rows in product format."""
    for i in range(len(total)):
        total[i] = to_float(x[i]) + to_float(y[i])


@jit
def add_all_rows(x: Array, y: Array, total: Array) -> None:
    """Add two [B, n] in product format."""
    for b in range(total.shape[0]):
        add_row_pair(x[b], y[b], total[b])


@jit
def write_row(values: Array, row: Array) -> None:
    """Copy to a row in product format."""
    for i in range(len(row)):
        store(row, i, values[i])


@jit
def read_row(row: Array, values: Array) -> None:
    """Copy from a row in product format."""
    for i in range(len(values)):
        values[i] = to_float(row[i])
