"""What a CPU does in a step of speaking freely beside large products, in two passes between two of them.

After each has gone through its weights all else is gone from the cache, and a call of torch costs as much as its work.

P numbers are heard, E are of a context, H of a hidden state, D of a deep one; what is short is as `array_of` has it.
"""

from __future__ import annotations

import numpy as np

from models.kernels.bfloat16 import store, widened
from models.kernels.compile import in_numba
from models.kernels.openmp_loop import share
from models.tacotron2.attention_cpu_steps import attend_of, cut_windows_of, step_lstm_of

Array = np.ndarray


@in_numba
def drop_of(b: int, x: Array, heard: Array, keep: Array) -> None:
    """Of what a layer of the prenet makes [B, P], what is kept: the beginning of what is heard (short or wide)."""
    for i in range(x.shape[1]):
        store(heard[b], i, max(x[b, i], 0) * keep[b, i])


@in_numba
def drop(n_threads: int, *given: Array) -> None:
    share(drop_of, n_threads, len(given[0]), given)


@in_numba
def listen_of(
    b: int,
    biases: Array,
    ones: Array,
    gates: Array,
    cell: Array,
    hidden: Array,
    state: Array,
    looked: Array,
    windows: Array,
    product: Array,
) -> None:
    """The attention LSTM, and where it looked before."""
    step_lstm_of(b, product, biases, cell, ones, gates, cell, hidden, state)
    cut_windows_of(b, looked, windows)


@in_numba
def listen(n_threads: int, *given: Array) -> None:
    share(listen_of, n_threads, len(given[0]), given)


@in_numba
def look_of(
    b: int,
    located: Array,
    projected: Array,
    query: Array,
    energy_weight: Array,
    lengths: Array,
    memory: Array,
    looked: Array,
    features: Array,
    state: Array,
    listening: Array,
    thinking: Array,
    alignment: Array,
) -> None:
    """The attention [B, N], and what both LSTMs are given of the state."""
    attend_of(b, located, projected, query, energy_weight, lengths, memory, looked, features, looked, state)
    before = (looked.shape[2] - alignment.shape[1] + 1) // 2
    alignment[b] = looked[b, 0, before : before + alignment.shape[1]]
    listening[b, listening.shape[1] - state.shape[1] :] = state[b]
    thinking[b, : state.shape[1]] = state[b]


@in_numba
def look(n_threads: int, *given: Array) -> None:
    share(look_of, n_threads, len(given[0]), given)


@in_numba
def think_of(
    b: int,
    biases: Array,
    ones: Array,
    gates: Array,
    cell: Array,
    hidden: Array,
    thinking: Array,
    known: Array,
    product: Array,
) -> None:
    """The decoder LSTM; of its hidden state and the context [B, D + E] is made what is said."""
    step_lstm_of(b, product, biases, cell, ones, gates, cell, hidden, thinking)
    n_hidden = hidden.shape[1]
    known[b, :n_hidden] = hidden[b]
    for i in range(known.shape[1] - n_hidden):
        known[b, n_hidden + i] = widened(thinking[b, i])


@in_numba
def think(n_threads: int, *given: Array) -> None:
    share(think_of, n_threads, len(given[0]), given)
