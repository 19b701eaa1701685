"""What a CPU does in a step of an attention scan beside matrix products, in one pass over what the step needs.

torch's operations would go over it thirty times and find it gone from the cache, since the weights of the products
have passed through it. B items, N tokens, H hidden units, E numbers a token of the memory, A of the attention; a state
[B, E + H] is a context and a hidden state; looked at [B, 2, N + K - 1] are the last attention and the sum of all, with
zeros on both sides for windows of K.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from models.fast_tanh import FAST_MATH, sigmoid, tanh

Array = np.ndarray


_in_numba = numba.njit(cache=True, nogil=True, fastmath=FAST_MATH, error_model="numpy")


@_in_numba
def step_lstm(gates: Array, cell: Array, keep: Array, new_cell: Array, state: Array) -> None:
    """Gates [B, 4H] (in, forget, candidate, out) become activated ones; cell, keep and new cell are [B, H]."""
    n_hidden = cell.shape[1]
    for b in range(cell.shape[0]):
        into, forget, candidate, out = _four(gates[b], n_hidden)
        old, new, kept = cell[b], new_cell[b], keep[b]
        hidden = state[b, state.shape[1] - n_hidden :]
        for h in range(2 * n_hidden):
            gates[b, h] = sigmoid(gates[b, h])
        for h in range(n_hidden):
            candidate[h] = tanh(candidate[h])
        for h in range(n_hidden):
            out[h] = sigmoid(out[h])
        for h in range(n_hidden):
            new[h] = forget[h] * old[h] + into[h] * candidate[h]
        for h in range(n_hidden):
            hidden[h] = out[h] * tanh(new[h]) * kept[h]


@_in_numba
def step_lstm_back(
    d_state: Array, d_cell: Array, gates: Array, cell: Array, new_cell: Array, keep: Array, d_gates: Array
) -> None:
    """From the gradient of hidden state and new cell to that of the gates before they were activated, and the cell."""
    n_hidden = cell.shape[1]
    for b in range(cell.shape[0]):
        into, forget, candidate, out = _four(gates[b], n_hidden)
        d_into, d_forget, d_candidate, d_out = _four(d_gates[b], n_hidden)
        old, new, kept, d_new = cell[b], new_cell[b], keep[b], d_cell[b]
        d_hidden = d_state[b, d_state.shape[1] - n_hidden :]
        for h in range(n_hidden):
            squashed, d = tanh(new[h]), d_hidden[h] * kept[h]
            d_new[h] += d * (out[h] - out[h] * squashed * squashed)
            d_out[h] = d * squashed * (out[h] - out[h] * out[h])
        for h in range(n_hidden):
            d_into[h] = d_new[h] * candidate[h] * (into[h] - into[h] * into[h])
        for h in range(n_hidden):
            d_candidate[h] = d_new[h] * (into[h] - into[h] * candidate[h] * candidate[h])
        for h in range(n_hidden):
            d_forget[h] = d_new[h] * old[h] * (forget[h] - forget[h] * forget[h])
            d_new[h] *= forget[h]


@_in_numba
def _four(row: Array, n: int) -> tuple[Array, Array, Array, Array]:
    return row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]


@_in_numba
def cut_windows(looked: Array, windows: Array) -> None:
    """What was looked at before, around each token: [B, N, 2, K]."""
    n_items, n_tokens, n_kinds, kernel_size = windows.shape
    for b in range(n_items):
        for n in range(n_tokens):
            for kind in range(n_kinds):
                windows[b, n, kind] = looked[b, kind, n : n + kernel_size]


@_in_numba
def attend(
    features: Array,
    projected: Array,
    query: Array,
    energy_weight: Array,
    lengths: Array,
    memory: Array,
    looked: Array,
    now_looked: Array,
    state: Array,
) -> None:
    """Features [B, N, A] of the place become tanh of all that energies are made of; the attention and its context."""
    n_tokens = features.shape[1]
    before = (looked.shape[2] - n_tokens + 1) // 2
    for b in range(features.shape[0]):
        length, context = lengths[b], state[b, : memory.shape[2]]
        weights, summed = now_looked[b, 0, before : before + n_tokens], now_looked[b, 1, before : before + n_tokens]
        for n in range(length):
            _tanh_of_sum(features[b, n], projected[b, n], query[b])
        for n in range(length):
            weights[n] = _product(features[b, n], energy_weight)
        _soften(weights[:length])
        features[b, length:] = 0
        weights[length:] = 0
        context[:] = 0
        for n in range(length):
            _add_times(context, weights[n], memory[b, n])
        for n in range(n_tokens):
            summed[n] = looked[b, 1, before + n] + weights[n]


@_in_numba
def _tanh_of_sum(x: Array, y: Array, z: Array) -> None:
    for i in range(len(x)):
        x[i] = tanh(x[i] + y[i] + z[i])


@_in_numba
def _soften(weights: Array) -> None:
    """Softmax in place."""
    largest, total = weights.max(), 0.0
    for n in range(len(weights)):
        weights[n] = math.exp(weights[n] - largest)
        total += weights[n]
    for n in range(len(weights)):
        weights[n] /= total


@_in_numba
def _product(x: Array, y: Array) -> float:
    found = x[0] * y[0]
    for i in range(1, len(x)):
        found += x[i] * y[i]
    return found


@_in_numba
def _add(x: Array, y: Array) -> None:
    for i in range(len(y)):
        x[i] += y[i]


@_in_numba
def _add_times(x: Array, factor: float, y: Array) -> None:
    for i in range(len(y)):
        x[i] += factor * y[i]


@_in_numba
def attend_back(
    d_state: Array,
    d_attention: Array,
    memory: Array,
    attention: Array,
    features: Array,
    energy_weight: Array,
    lengths: Array,
    d_features: Array,
    d_query: Array,
    d_energy_weight: Array,
    d_projected: Array,
) -> None:
    """From the gradient of the context, in the state, and of the attention [B, N] elsewhere to that of the features
    [B, N, A] before they were squashed; the query's is set, the others grow.
    """
    for b in range(features.shape[0]):
        weights, d_weights, d_context = attention[b], d_attention[b], d_state[b, : memory.shape[2]]
        mean = weights[0] * 0
        for n in range(lengths[b]):
            d_weights[n] += _product(d_context, memory[b, n])
            mean += d_weights[n] * weights[n]
        d_query[b] = 0
        d_features[b, lengths[b] :] = 0
        for n in range(lengths[b]):
            d_energy, feature, d_feature = weights[n] * (d_weights[n] - mean), features[b, n], d_features[b, n]
            _add_times(d_energy_weight, d_energy, feature)
            for a in range(len(feature)):
                d_feature[a] = d_energy * (energy_weight[a] - energy_weight[a] * feature[a] * feature[a])
            _add(d_query[b], d_feature)
            _add(d_projected[b, n], d_feature)


@_in_numba
def fold_windows(d_windows: Array, d_last: Array, d_sum: Array) -> None:
    """Windows' gradient [B, N, 2, K] back to what they were cut from: the last attention's is set, the sum's grows."""
    n_items, n_tokens, _, kernel_size = d_windows.shape
    before = kernel_size // 2
    for b in range(n_items):
        d_last[b] = 0
        for n in range(n_tokens):
            low, high = max(0, before - n), min(kernel_size, n_tokens + before - n)
            _add(d_last[b, n + low - before :], d_windows[b, n, 0, low:high])
            _add(d_sum[b, n + low - before :], d_windows[b, n, 1, low:high])
