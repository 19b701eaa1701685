"""One step of location-sensitive attention and of its gradient, in numba, beside the matrix products.

As in `models.kernels.lstm_steps`: functions named `…_item` compute item b, those without the suffix compute all items
in a parallel loop. B items, N tokens, H hidden units, E numbers per token of the memory, A of the attention. A state
[B, E + H] is a context and a hidden state. A history [B, 2, N + K - 1] holds the last and the cumulative attention with
zeros on both sides, for windows of K taps. States, products, memory, processed memory and features are in product
format, possibly bfloat16 as `numpy_view` gives it; everything else is in the format of the weights.
"""

from __future__ import annotations

import math

import numpy as np

from models.kernels.bfloat16 import to_float
from models.kernels.compile import jit
from models.kernels.fast_tanh import tanh
from models.kernels.lstm_steps import add_row_pair, read_row, write_row
from models.kernels.openmp_loop import parallel_for

Array = np.ndarray


@jit
def gather_windows_item(b: int, history: Array, windows: Array) -> None:
    """Cut windows [B, N, 2, K] of the history around each token."""
    _, n_tokens, n_kinds, kernel_size = windows.shape
    for n in range(n_tokens):
        for kind in range(n_kinds):
            window, row = windows[b, n, kind], history[b, kind]
            for k in range(kernel_size):
                window[k] = row[n + k]


@jit
def gather_windows(n_threads: int, *arguments: Array) -> None:
    parallel_for(gather_windows_item, n_threads, len(arguments[0]), arguments)


@jit
def attend_item(
    b: int,
    location: Array,
    processed_memory: Array,
    query: Array,
    energy_weight: Array,
    lengths: Array,
    memory: Array,
    history: Array,
    features: Array,
    new_history: Array,
    state: Array,
) -> None:
    """Set the features, the new history and, in the state, the context.

    Features are tanh(location + processed memory + query), [B, N, A]; with shape [B, N, 0] they are not stored. The
    location features are overwritten. The new history may be the same array as the old one.
    """
    n_tokens, length = features.shape[1], lengths[b]
    padding = (history.shape[2] - n_tokens + 1) // 2
    context = np.empty(memory.shape[2], query.dtype)
    weights = new_history[b, 0, padding : padding + n_tokens]
    cumulative = new_history[b, 1, padding : padding + n_tokens]
    for n in range(length):
        squashed = location[b, n]
        _tanh_of_sum(squashed, processed_memory[b, n], query[b])
        weights[n] = dot(energy_weight, squashed)
        write_row(squashed, features[b, n])
    softmax_in_place(weights[:length])
    features[b, length:] = 0
    weights[length:] = 0
    weighted_sum(weights[:length], memory[b], 0, len(context), context)
    write_row(context, state[b, : memory.shape[2]])
    for n in range(n_tokens):
        cumulative[n] = history[b, 1, padding + n] + weights[n]


@jit
def attend(n_threads: int, *arguments: Array) -> None:
    parallel_for(attend_item, n_threads, len(arguments[0]), arguments)


@jit
def _tanh_of_sum(x: Array, row: Array, y: Array) -> None:
    """x = tanh(x + row + y), the row in product format."""
    for i in range(len(x)):
        x[i] = tanh(x[i] + to_float(row[i]) + y[i])


@jit
def softmax_in_place(weights: Array) -> None:
    largest, total = weights.max(), 0.0
    for n in range(len(weights)):
        weights[n] = math.exp(weights[n] - largest)
        total += weights[n]
    for n in range(len(weights)):
        weights[n] /= total


@jit
def dot(x: Array, y: Array) -> float:
    """Dot product; y may be in product format."""
    total = type(x[0])(0)  # in the type of x, or LLVM would not vectorise the sum
    for i in range(len(x)):
        total += x[i] * to_float(y[i])
    return total


@jit
def weighted_sum(weights: Array, rows: Array, begin: int, end: int, sums: Array) -> None:
    """Set columns `begin` to `end` of `sums` to the weighted sum of rows in product format."""
    total = sums[begin:end]
    total[:] = 0
    n_in_fours = len(weights) // 4 * 4
    for n in range(0, n_in_fours, 4):
        a, b, c, d = rows[n, begin:end], rows[n + 1, begin:end], rows[n + 2, begin:end], rows[n + 3, begin:end]
        _add_four_scaled(total, weights[n : n + 4], a, b, c, d)
    for n in range(n_in_fours, len(weights)):
        _add_scaled(total, weights[n], rows[n, begin:end])


@jit
def _add_four_scaled(x: Array, factors: Array, a: Array, b: Array, c: Array, d: Array) -> None:
    """Add four rows in product format, times their factors: x is read and written once instead of four times."""
    factor_a, factor_b, factor_c, factor_d = factors[0], factors[1], factors[2], factors[3]
    for i in range(len(x)):
        x[i] += (
            factor_a * to_float(a[i])
            + factor_b * to_float(b[i])
            + factor_c * to_float(c[i])
            + factor_d * to_float(d[i])
        )


@jit
def _add_scaled(x: Array, factor: float, row: Array) -> None:
    for i in range(len(x)):
        x[i] += factor * to_float(row[i])


@jit
def attend_back_item(
    b: int,
    d_state: Array,
    product: Array,
    d_attention: Array,
    memory: Array,
    attention: Array,
    features: Array,
    energy_weight: Array,
    lengths: Array,
    d_hidden: Array,
    d_features: Array,
    d_query: Array,
    d_energy_weight: Array,
    d_processed_memory: Array,
) -> None:
    """Gradient of `attend_item` from that of the state, given in two parts, and of the attention [B, N].

    `d_state` and `product` add up to the state's gradient; the context's part of the sum is written back to `d_state`.
    Sets d_hidden, d_query and d_features [B, N, A], before tanh; adds to d_energy_weight, which is kept for each item
    [B, A], and to d_processed_memory.
    """
    width = memory.shape[2]
    d_context = np.empty(width, d_hidden.dtype)
    weights, d_weights = attention[b], d_attention[b]
    add_row_pair(d_state[b, :width], product[b, :width], d_context)
    add_row_pair(d_state[b, width:], product[b, width:], d_hidden[b])
    write_row(d_context, d_state[b, :width])
    mean = 0.0
    for n in range(lengths[b]):
        d_weights[n] += dot(d_context, memory[b, n])
        mean += d_weights[n] * weights[n]
    d_query[b] = 0
    d_features[b, lengths[b] :] = 0
    for n in range(lengths[b]):
        d_energy, d_feature = weights[n] * (d_weights[n] - mean), d_features[b, n]
        _features_back(d_energy, features[b, n], energy_weight, d_feature, d_energy_weight[b])
        _add(d_query[b], d_feature)
        _add(d_processed_memory[b, n], d_feature)


@jit
def attend_back(n_threads: int, *arguments: Array) -> None:
    parallel_for(attend_back_item, n_threads, len(arguments[0]), arguments)


@jit
def _features_back(d_energy: float, features: Array, weight: Array, d_features: Array, d_weight: Array) -> None:
    read_row(features, d_features)
    for a in range(len(weight)):
        d_weight[a] += d_energy * d_features[a]
    for a in range(len(weight)):
        d_features[a] = d_energy * (weight[a] - weight[a] * d_features[a] * d_features[a])


@jit
def scatter_windows_item(b: int, d_windows: Array, d_last: Array, d_cumulative: Array) -> None:
    """Gradient of `gather_windows_item`: sets that of the last attention, adds to that of the cumulative one."""
    _, n_tokens, _, kernel_size = d_windows.shape
    padding = kernel_size // 2
    d_last[b] = 0
    for n in range(n_tokens):
        low, high = max(0, padding - n), min(kernel_size, n_tokens + padding - n)
        _add(d_last[b, n + low - padding :], d_windows[b, n, 0, low:high])
        _add(d_cumulative[b, n + low - padding :], d_windows[b, n, 1, low:high])


@jit
def scatter_windows(n_threads: int, *arguments: Array) -> None:
    parallel_for(scatter_windows_item, n_threads, len(arguments[0]), arguments)


@jit
def _add(x: Array, y: Array) -> None:
    for i in range(len(y)):
        x[i] += y[i]
