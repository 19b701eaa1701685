"""What a CPU does in a step of speaking freely beside large products, in two passes between two of them.

After each has gone through its weights all else is gone from the cache, and a call of torch costs as much as its work.

P numbers are heard, E are of a context, H of a hidden state, D of a deep one; what is short is as `array_of` has it.
"""

from __future__ import annotations

import numpy as np

from models.attention_steps import attend, cut_windows, step_lstm
from models.compiled import in_numba
from models.number_formats import widened

Array = np.ndarray


@in_numba
def listen(
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
    step_lstm(product, biases, cell, ones, gates, cell, hidden, state)
    cut_windows(looked, windows)


@in_numba
def look(
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
    attend(located, projected, query, energy_weight, lengths, memory, looked, features, looked, state)
    before = (looked.shape[2] - alignment.shape[1] + 1) // 2
    for b in range(state.shape[0]):
        alignment[b] = looked[b, 0, before : before + alignment.shape[1]]
        listening[b, listening.shape[1] - state.shape[1] :] = state[b]
        thinking[b, : state.shape[1]] = state[b]


@in_numba
def think(
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
    step_lstm(product, biases, cell, ones, gates, cell, hidden, thinking)
    n_hidden = hidden.shape[1]
    for b in range(known.shape[0]):
        known[b, :n_hidden] = hidden[b]
        for i in range(known.shape[1] - n_hidden):
            known[b, n_hidden + i] = widened(thinking[b, i])
