"""What a CPU does in a step of an attention scan beside matrix products, in one pass over what the step needs.

torch's operations would go over it thirty times and find it gone from the cache, since the weights of the products
have passed through it. Functions named `…_of` take the item b; those without are for all items, by as many threads as
they are told. B items, N tokens, H hidden units, E numbers a token of the memory, A of the attention; a state
[B, E + H] is a context and a hidden state; looked at [B, 2, N + K - 1] are the last attention and the sum of all, with
zeros on both sides for windows of K. What products are taken of is in their number format ("short": as `array_of` has
it), and so are memory, projected and features; all else is as wide as the weights.
"""

from __future__ import annotations

import math

import numpy as np

from models.kernels.bfloat16 import store, widened
from models.kernels.compile import in_numba
from models.kernels.fast_tanh import sigmoid, tanh
from models.kernels.openmp_loop import share

Array = np.ndarray


@in_numba
def step_lstm_of(
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
    """Product and inputs (short) [B, 4H] make the gates (in, forget, candidate, out), which are left activated; cell,
    keep, new cell and hidden state are [B, H]. The hidden state is also the end of the state (short).
    """
    n_hidden = cell.shape[1]
    into, forget, candidate, out = _four(gates[b], n_hidden)
    old, new, kept, said = cell[b], new_cell[b], keep[b], hidden[b]
    add_up(product[b], inputs[b], gates[b])
    for h in range(2 * n_hidden):
        gates[b, h] = sigmoid(gates[b, h])
    for h in range(n_hidden):
        candidate[h] = tanh(candidate[h])
    for h in range(n_hidden):
        out[h] = sigmoid(out[h])
    for h in range(n_hidden):
        new[h] = forget[h] * old[h] + into[h] * candidate[h]
    for h in range(n_hidden):
        said[h] = out[h] * tanh(new[h]) * kept[h]
    _write(said, state[b, state.shape[1] - n_hidden :])


@in_numba
def step_lstm(n_threads: int, *given: Array) -> None:
    share(step_lstm_of, n_threads, len(given[0]), given)


@in_numba
def step_lstm_back_of(
    b: int, d_hidden: Array, d_cell: Array, gates: Array, cell: Array, new_cell: Array, keep: Array, d_gates: Array
) -> None:
    """From the gradient of hidden state and new cell to that (short) of the gates before they were activated, and the
    cell's.
    """
    n_hidden = cell.shape[1]
    into, forget, candidate, out = _four(gates[b], n_hidden)
    d_into, d_forget, d_candidate, d_out = _four(d_gates[b], n_hidden)
    old, new, kept, d_said, d_new = cell[b], new_cell[b], keep[b], d_hidden[b], d_cell[b]
    for h in range(n_hidden):
        squashed, d = tanh(new[h]), d_said[h] * kept[h]
        d_new[h] += d * (out[h] - out[h] * squashed * squashed)
        store(d_out, h, d * squashed * (out[h] - out[h] * out[h]))
    for h in range(n_hidden):
        store(d_into, h, d_new[h] * candidate[h] * (into[h] - into[h] * into[h]))
    for h in range(n_hidden):
        store(d_candidate, h, d_new[h] * (into[h] - into[h] * candidate[h] * candidate[h]))
    for h in range(n_hidden):
        store(d_forget, h, d_new[h] * old[h] * (forget[h] - forget[h] * forget[h]))
        d_new[h] *= forget[h]


@in_numba
def step_lstm_back(n_threads: int, *given: Array) -> None:
    share(step_lstm_back_of, n_threads, len(given[0]), given)


@in_numba
def _four(row: Array, n: int) -> tuple[Array, Array, Array, Array]:
    return row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]


@in_numba
def add_up(x: Array, y: Array, total: Array) -> None:
    """Of two short rows."""
    for i in range(len(total)):
        total[i] = widened(x[i]) + widened(y[i])


@in_numba
def add_rows(x: Array, y: Array, total: Array) -> None:
    """Of two short [B, n]."""
    for b in range(total.shape[0]):
        add_up(x[b], y[b], total[b])


@in_numba
def _write(x: Array, short: Array) -> None:
    for i in range(len(short)):
        store(short, i, x[i])


@in_numba
def _read(short: Array, x: Array) -> None:
    for i in range(len(x)):
        x[i] = widened(short[i])


@in_numba
def cut_windows_of(b: int, looked: Array, windows: Array) -> None:
    """What was looked at before, around each token: [B, N, 2, K]."""
    _, n_tokens, n_kinds, kernel_size = windows.shape
    for n in range(n_tokens):
        for kind in range(n_kinds):
            window, row = windows[b, n, kind], looked[b, kind]
            for k in range(kernel_size):
                window[k] = row[n + k]


@in_numba
def cut_windows(n_threads: int, *given: Array) -> None:
    share(cut_windows_of, n_threads, len(given[0]), given)


@in_numba
def attend_of(
    b: int,
    located: Array,
    projected: Array,
    query: Array,
    energy_weight: Array,
    lengths: Array,
    memory: Array,
    looked: Array,
    features: Array,
    now_looked: Array,
    state: Array,
) -> None:
    """Features (short) [B, N, A], or [B, N, 0] where none are kept, are tanh of what is made of the place, the memory
    (short) and the query; of them come the attention and, in the state (short), its context of the memory (short).
    What is made of the place is lost; what is looked at now may be in the place of what was looked at before.
    """
    n_tokens, length = features.shape[1], lengths[b]
    before = (looked.shape[2] - n_tokens + 1) // 2
    context = np.empty(memory.shape[2], query.dtype)
    weights, summed = now_looked[b, 0, before : before + n_tokens], now_looked[b, 1, before : before + n_tokens]
    for n in range(length):
        squashed = located[b, n]
        _tanh_of_sum(squashed, projected[b, n], query[b])
        weights[n] = product_of(energy_weight, squashed)
        _write(squashed, features[b, n])
    soften(weights[:length])
    features[b, length:] = 0
    weights[length:] = 0
    gather(weights[:length], memory[b], 0, len(context), context)
    _write(context, state[b, : memory.shape[2]])
    for n in range(n_tokens):
        summed[n] = looked[b, 1, before + n] + weights[n]


@in_numba
def attend(n_threads: int, *given: Array) -> None:
    share(attend_of, n_threads, len(given[0]), given)


@in_numba
def _tanh_of_sum(x: Array, short: Array, y: Array) -> None:
    for i in range(len(x)):
        x[i] = tanh(x[i] + widened(short[i]) + y[i])


@in_numba
def soften(weights: Array) -> None:
    """Softmax in place."""
    largest, total = weights.max(), 0.0
    for n in range(len(weights)):
        weights[n] = math.exp(weights[n] - largest)
        total += weights[n]
    for n in range(len(weights)):
        weights[n] /= total


@in_numba
def product_of(x: Array, y: Array) -> float:
    """Of a wide row and a short or wide one."""
    found = type(x[0])(0)  # of its kind, or it would be summed one by one
    for i in range(len(x)):
        found += x[i] * widened(y[i])
    return found


@in_numba
def gather(weights: Array, rows: Array, begin: int, end: int, sums: Array) -> None:
    """From `begin` to `end`, sums of (short) rows, each as often as its weight says."""
    found = sums[begin:end]
    found[:] = 0
    n_fours = len(weights) // 4 * 4
    for n in range(0, n_fours, 4):
        a, b, c, d = rows[n, begin:end], rows[n + 1, begin:end], rows[n + 2, begin:end], rows[n + 3, begin:end]
        add_four(found, weights[n : n + 4], a, b, c, d)
    for n in range(n_fours, len(weights)):
        _add_times(found, weights[n], rows[n, begin:end])


@in_numba
def add_four(x: Array, factors: Array, a: Array, b: Array, c: Array, d: Array) -> None:
    """Times four factors, four short rows."""
    of_a, of_b, of_c, of_d = factors[0], factors[1], factors[2], factors[3]
    for i in range(len(x)):
        x[i] += of_a * widened(a[i]) + of_b * widened(b[i]) + of_c * widened(c[i]) + of_d * widened(d[i])


@in_numba
def _add_times(x: Array, factor: float, short: Array) -> None:
    for i in range(len(x)):
        x[i] += factor * widened(short[i])


@in_numba
def attend_back_of(
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
    d_projected: Array,
) -> None:
    """From the gradient of the state (short), which is what comes from elsewhere and a product (short), and that of
    the attention [B, N] elsewhere to that of the features [B, N, A] before they were squashed; those of hidden state
    and query are set, the others grow; that of the energy's weight is of each item [B, A]. Of the context's gradient
    all is left in the state's.
    """
    width = memory.shape[2]
    d_context = np.empty(width, d_hidden.dtype)
    weights, d_weights = attention[b], d_attention[b]
    add_up(d_state[b, :width], product[b, :width], d_context)
    add_up(d_state[b, width:], product[b, width:], d_hidden[b])
    _write(d_context, d_state[b, :width])
    mean = 0.0
    for n in range(lengths[b]):
        d_weights[n] += product_of(d_context, memory[b, n])
        mean += d_weights[n] * weights[n]
    d_query[b] = 0
    d_features[b, lengths[b] :] = 0
    for n in range(lengths[b]):
        d_energy, d_feature = weights[n] * (d_weights[n] - mean), d_features[b, n]
        _features_back(d_energy, features[b, n], energy_weight, d_feature, d_energy_weight[b])
        _add(d_query[b], d_feature)
        _add(d_projected[b, n], d_feature)


@in_numba
def attend_back(n_threads: int, *given: Array) -> None:
    share(attend_back_of, n_threads, len(given[0]), given)


@in_numba
def _features_back(d_energy: float, features: Array, weight: Array, d_features: Array, d_weight: Array) -> None:
    _read(features, d_features)
    for a in range(len(weight)):
        d_weight[a] += d_energy * d_features[a]
    for a in range(len(weight)):
        d_features[a] = d_energy * (weight[a] - weight[a] * d_features[a] * d_features[a])


@in_numba
def fold_windows_of(b: int, d_windows: Array, d_last: Array, d_sum: Array) -> None:
    """Windows' gradient [B, N, 2, K] back to what they were cut from: the last attention's is set, the sum's grows."""
    _, n_tokens, _, kernel_size = d_windows.shape
    before = kernel_size // 2
    d_last[b] = 0
    for n in range(n_tokens):
        low, high = max(0, before - n), min(kernel_size, n_tokens + before - n)
        _add(d_last[b, n + low - before :], d_windows[b, n, 0, low:high])
        _add(d_sum[b, n + low - before :], d_windows[b, n, 1, low:high])


@in_numba
def fold_windows(n_threads: int, *given: Array) -> None:
    share(fold_windows_of, n_threads, len(given[0]), given)


@in_numba
def _add(x: Array, y: Array) -> None:
    for i in range(len(y)):
        x[i] += y[i]
