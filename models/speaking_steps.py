"""What a CPU does in a step of speaking freely beside large products, in two passes between two of them.

After each has gone through its weights all else is gone from the cache, and a call of torch costs as much as its work.

P numbers are heard, E are of a context, H of a hidden state, D of a deep one; what is short is as `array_of` has it.
"""

from __future__ import annotations

import numpy as np

from models.attention_steps import attend, cut_windows, product_of, step_lstm
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
def say(
    biases: Array,
    ones: Array,
    gates: Array,
    cell: Array,
    hidden: Array,
    thinking: Array,
    weight: Array,
    bias: Array,
    product: Array,
    said: Array,
) -> None:
    """The decoder LSTM, then frames and gate by a weight [n_mel·r + 1, D + E] of its hidden state and the context."""
    n_hidden = hidden.shape[1]
    step_lstm(product, biases, cell, ones, gates, cell, hidden, thinking)
    context = np.empty(weight.shape[1] - n_hidden, weight.dtype)
    for b in range(said.shape[0]):
        for i in range(len(context)):
            context[i] = widened(thinking[b, i])
        for o in range(len(weight)):
            of_hidden, of_context = weight[o, :n_hidden], weight[o, n_hidden:]
            said[b, o] = bias[o] + product_of(hidden[b], of_hidden) + product_of(context, of_context)
