"""Several steps of one voice that speaks freely, by several threads that go through the same function.

P numbers are heard, H are of a hidden state, D of a deep one, A of the attention, O are said (frames and gate), in S
steps and of N tokens. What is short is as `array_of` has it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.bfloat16 import widened
from models.kernels.compile import in_numba
from models.kernels.fast_tanh import tanh
from models.kernels.spin_barrier import meet
from models.tacotron2.attention_cpu_steps import gather, product_of, soften, step_lstm_of

Array = np.ndarray
STREAMS = 8


class Given(NamedTuple):
    """What stays as it is. There is no context: of each token its shares are known of all that is made of one, biases
    too; since an attention sums to one, what it gathers of them is what a context would have come to.
    """

    prenet: Array  # [P, O - 1] short
    prenet_again: Array  # [P, P] short
    recurrent: Array  # [4H, P + H] short
    query: Array  # [A, H] short
    location: Array  # [2K, A]
    energy: Array  # [A]
    deep: Array  # [4D, H + D] short
    output: Array  # [O, D] short
    shares: Array  # [N, 4H + 4D + O] short
    projected: Array  # [N, A] the memory's part of the features; short
    keep: Array  # [S, 2, P] scaled dropout masks of the prenet


class Going(NamedTuple):
    """What goes on from step to step, and what one thread leaves for another."""

    gathered: Array  # [4H + 4D + O] shares
    listening: Array  # [1, P + H] what the attention LSTM is given
    thinking: Array  # [1, H + D] what the decoder LSTM is given
    cell: Array  # [1, H]
    deep_cell: Array  # [1, D]
    looked: Array  # [2, N + K - 1] the last attention and the sum of all, with zeros on both sides
    said: Array  # [S, O]
    alignments: Array  # [S, N or more]
    product: Array  # [1, 4H]
    deep_product: Array  # [1, 4D]
    asked: Array  # [A]
    energies: Array  # [N]


@in_numba
def speak_on(thread: int, n_threads: int, arrivals: Array, enough: float, given: Given, going: Going) -> None:
    """Until the gate's logit is above `enough`."""
    for t in range(len(going.said)):
        if thread == 0:
            _hear(t, given, going)
        meet(arrivals, thread, n_threads)
        _multiply(given.recurrent, going.listening[0], going.product[0], thread, n_threads)
        meet(arrivals, thread, n_threads)
        if thread == 0:
            _ask(given, going)
        meet(arrivals, thread, n_threads)
        _compare(given, going, thread, n_threads)
        meet(arrivals, thread, n_threads)
        if thread == 0:
            _look(t, given, going)
        meet(arrivals, thread, n_threads)
        gather(_seen(given, going), given.shares, *_part(len(going.gathered), thread, n_threads), going.gathered)
        _multiply(given.deep, going.thinking[0], going.deep_product[0], thread, n_threads)
        meet(arrivals, thread, n_threads)
        if thread == 0:
            _say(t, given, going)
        meet(arrivals, thread, n_threads)
        if going.said[t, -1] > enough:
            return


@in_numba
def _hear(t: int, given: Given, going: Going) -> None:
    n_heard, n_frames = given.prenet.shape
    once, heard = np.empty(n_heard, going.said.dtype), going.listening[0, :n_heard]
    _multiply(given.prenet, going.said[t - 1, :n_frames], once, 0, 1)
    _squash(once, given.keep[t, 0])
    _multiply(given.prenet_again, once, heard, 0, 1)
    _squash(heard, given.keep[t, 1])


@in_numba
def _squash(x: Array, keep: Array) -> None:
    for i in range(len(x)):
        x[i] = max(x[i], 0) * keep[i]


@in_numba
def _ask(given: Given, going: Going) -> None:
    cell, n_hidden = going.cell, going.cell.shape[1]
    hidden, ones, gates = np.empty_like(cell), np.ones_like(cell), np.empty_like(going.product)
    shares = going.gathered[: 4 * n_hidden].reshape(1, -1)
    step_lstm_of(0, going.product, shares, cell, ones, gates, cell, hidden, going.listening)
    going.thinking[0, :n_hidden] = hidden[0]
    _multiply(given.query, hidden[0], going.asked, 0, 1)


@in_numba
def _compare(given: Given, going: Going, thread: int, n_threads: int) -> None:
    """The energies of a thread's part of the tokens."""
    begin, end = _part(len(given.projected), thread, n_threads)
    asked, kernel_size, features = going.asked, len(given.location) // 2, np.empty_like(going.asked)
    for n in range(begin, end):
        projected = given.projected[n]
        for a in range(len(asked)):
            features[a] = asked[a] + widened(projected[a])
        for kind in range(2):
            for k in range(kernel_size):
                seen, weight = going.looked[kind, n + k], given.location[kind * kernel_size + k]
                for a in range(len(asked)):
                    features[a] += seen * weight[a]
        for a in range(len(asked)):
            features[a] = tanh(features[a])
        going.energies[n] = product_of(features, given.energy)


@in_numba
def _seen(given: Given, going: Going, kind: int = 0) -> Array:
    """Of what was looked at, what belongs to tokens."""
    before = len(given.location) // 4
    return going.looked[kind, before : before + len(given.shares)]


@in_numba
def _look(t: int, given: Given, going: Going) -> None:
    attention, summed = _seen(given, going), _seen(given, going, 1)
    attention[:] = going.energies
    soften(attention)
    summed += attention
    going.alignments[t, : len(attention)] = attention


@in_numba
def _say(t: int, given: Given, going: Going) -> None:
    cell, n_first, n_deep = going.deep_cell, 4 * going.cell.shape[1], 4 * going.deep_cell.shape[1]
    hidden, ones, gates = np.empty_like(cell), np.ones_like(cell), np.empty_like(going.deep_product)
    shares = going.gathered[n_first : n_first + n_deep].reshape(1, -1)
    step_lstm_of(0, going.deep_product, shares, cell, ones, gates, cell, hidden, going.thinking)
    _multiply(given.output, hidden[0], going.said[t], 0, 1)
    going.said[t] += going.gathered[n_first + n_deep :]


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
