"""Several steps of one voice that speaks freely, by several threads that go through the same function.

P numbers are heard, H are of a hidden state, D of a deep one, A of the attention, O are said (frames and gate), in S
steps and of N tokens. What is short is as `array_of` has it. There is no context: of each token its shares are known of
all that is made of one, [N, 4H + 4D + O], biases too; since an attention sums to one, what it gathers of them is what
a context would have come to.
"""

from __future__ import annotations

import numpy as np

from models.attention_steps import gather, product_of, soften, step_lstm
from models.compiled import in_numba
from models.fast_tanh import tanh
from models.meeting import meet
from models.number_formats import widened

Array = np.ndarray
STREAMS = 8


@in_numba
def speak_on(
    thread: int,
    n_threads: int,
    arrivals: Array,
    enough: float,
    prenet: tuple[Array, Array],
    recurrent: Array,
    query: Array,
    location: Array,
    energy: Array,
    deep: Array,
    output: Array,
    shares: Array,
    projected: Array,
    keep: Array,
    gathered: Array,
    listening: Array,
    thinking: Array,
    cell: Array,
    deep_cell: Array,
    looked: Array,
    said: Array,
    alignments: Array,
    product: Array,
    deep_product: Array,
    asked: Array,
    energies: Array,
) -> None:
    """Until the gate's logit is above `enough`. Weights (short, but for the place's and the energy's): [P, O - 1] and
    [P, P], [4H, P + H], [A, H], [2K, A], [A], [4D, H + D], [O, D]; shares and the memory's part of the features
    (short); scaled dropout masks of the prenet [S, 2, P]. Then what goes on: the shares gathered, what the LSTMs are
    given [1, P + H] and [1, H + D], their cells [1, H] and [1, D], what was looked at before [2, N + K - 1], and what
    is said [S, O] and looked at [S, N]. What is made by one thread for another: [1, 4H], [1, 4D], [A], [N].
    """
    n_tokens, n_heard, n_hidden, n_deep = shares.shape[0], prenet[0].shape[0], cell.shape[1], deep_cell.shape[1]
    before = location.shape[0] // 4
    hidden, ones, gates = np.empty_like(cell), np.ones_like(cell), np.empty_like(product)
    deep_hidden, deep_ones, deep_gates = np.empty_like(deep_cell), np.ones_like(deep_cell), np.empty_like(deep_product)
    heard, attention = np.empty(n_heard, cell.dtype), looked[0, before : before + n_tokens]
    for t in range(said.shape[0]):
        if thread == 0:
            _multiply(prenet[0], said[t - 1, : prenet[0].shape[1]], heard, 0, 1)
            _squash(heard, keep[t, 0])
            _multiply(prenet[1], heard, listening[0], 0, 1)
            _squash(listening[0, :n_heard], keep[t, 1])
        meet(arrivals, thread, n_threads)
        _multiply(recurrent, listening[0], product[0], thread, n_threads)
        meet(arrivals, thread, n_threads)
        if thread == 0:
            step_lstm(product, gathered[: 4 * n_hidden].reshape(1, -1), cell, ones, gates, cell, hidden, listening)
            thinking[0, :n_hidden] = hidden[0]
            _multiply(query, hidden[0], asked, 0, 1)
        meet(arrivals, thread, n_threads)
        _compare(location, looked, projected, asked, energy, energies, thread, n_threads)
        meet(arrivals, thread, n_threads)
        if thread == 0:
            attention[:] = energies
            soften(attention)
            looked[1, before : before + n_tokens] += attention
            alignments[t, :n_tokens] = attention
        meet(arrivals, thread, n_threads)
        gather(attention, shares, *_part(len(gathered), thread, n_threads), gathered)
        _multiply(deep, thinking[0], deep_product[0], thread, n_threads)
        meet(arrivals, thread, n_threads)
        if thread == 0:
            of_deep = gathered[4 * n_hidden : 4 * (n_hidden + n_deep)].reshape(1, -1)
            step_lstm(deep_product, of_deep, deep_cell, deep_ones, deep_gates, deep_cell, deep_hidden, thinking)
            _multiply(output, deep_hidden[0], said[t], 0, 1)
            said[t] += gathered[4 * (n_hidden + n_deep) :]
        meet(arrivals, thread, n_threads)
        if said[t, -1] > enough:
            return


@in_numba
def _part(length: int, thread: int, n_threads: int) -> tuple[int, int]:
    return length * thread // n_threads, length * (thread + 1) // n_threads


@in_numba
def _multiply(weight: Array, x: Array, product: Array, thread: int, n_threads: int) -> None:
    """A thread's part of the product of a weight (short). Rows are read as several streams far from each other, so the
    machine sees earlier what comes next: half as quick again as row after row.
    """
    begin, end = _part(len(weight), thread, n_threads)
    n = (end - begin) // STREAMS
    for i in range(begin, begin + n):
        a, b, c, d = weight[i], weight[i + n], weight[i + 2 * n], weight[i + 3 * n]
        e, f, g, h = weight[i + 4 * n], weight[i + 5 * n], weight[i + 6 * n], weight[i + 7 * n]
        of_a = of_b = of_c = of_d = of_e = of_f = of_g = of_h = type(x[0])(0)
        for k in range(len(a)):
            of_a += x[k] * widened(a[k])
            of_b += x[k] * widened(b[k])
            of_c += x[k] * widened(c[k])
            of_d += x[k] * widened(d[k])
            of_e += x[k] * widened(e[k])
            of_f += x[k] * widened(f[k])
            of_g += x[k] * widened(g[k])
            of_h += x[k] * widened(h[k])
        for stream, found in enumerate((of_a, of_b, of_c, of_d, of_e, of_f, of_g, of_h)):
            product[i + stream * n] = found
    for i in range(begin + STREAMS * n, end):
        product[i] = product_of(x[: weight.shape[1]], weight[i])


@in_numba
def _squash(x: Array, keep: Array) -> None:
    for i in range(len(x)):
        x[i] = max(x[i], 0) * keep[i]


@in_numba
def _compare(
    location: Array,
    looked: Array,
    projected: Array,
    asked: Array,
    energy_weight: Array,
    energies: Array,
    thread: int,
    n_threads: int,
) -> None:
    """The energies of a thread's part of the tokens."""
    begin, end = _part(len(projected), thread, n_threads)
    kernel_size, features = len(location) // 2, np.empty_like(asked)
    for n in range(begin, end):
        for a in range(len(asked)):
            features[a] = asked[a] + widened(projected[n, a])
        for kind in range(2):
            for k in range(kernel_size):
                seen, weight = looked[kind, n + k], location[kind * kernel_size + k]
                for a in range(len(asked)):
                    features[a] += seen * weight[a]
        for a in range(len(asked)):
            features[a] = tanh(features[a])
        energies[n] = product_of(features, energy_weight)
