"""One free-running decoder step in numba, beside its two large products: one loop before, between and after them.

Each product leaves nothing but its weights in the cache, and a call of a torch operation costs as much as its work
here: speech is 2.1 (one utterance) to 2.7 times (sixteen) as fast as by `TorchSteps`. Functions named `…_item` compute
item b, those without the suffix compute all items in a parallel loop.

B items, P prenet units, E numbers per token of the memory, H attention LSTM units, D decoder LSTM units. Products, LSTM
inputs, biases, memory and states are in product format, possibly bfloat16 as `numpy_view` gives it.
"""

from __future__ import annotations

import numpy as np

from models.kernels.bfloat16 import store, to_float
from models.kernels.compile import jit
from models.kernels.lstm_steps import lstm_step_item
from models.kernels.openmp_loop import parallel_for
from models.tacotron2.attention_cpu_steps import attend_item, gather_windows_item

Array = np.ndarray


@jit
def relu_dropout_item(b: int, x: Array, output: Array, keep: Array) -> None:
    """Finish a prenet layer [B, P]: ReLU, then a scaled dropout mask; the output may be wider and in product format."""
    for i in range(x.shape[1]):
        store(output[b], i, max(x[b, i], 0) * keep[b, i])


@jit
def relu_dropout(n_threads: int, *arguments: Array) -> None:
    parallel_for(relu_dropout_item, n_threads, len(arguments[0]), arguments)


@jit
def attention_lstm_item(
    b: int,
    biases: Array,
    ones: Array,
    gates: Array,
    cell: Array,
    hidden: Array,
    state: Array,
    history: Array,
    windows: Array,
    product: Array,
) -> None:
    """Step the attention LSTM and cut the windows of the attention so far."""
    lstm_step_item(b, product, biases, cell, ones, gates, cell, hidden, state)
    gather_windows_item(b, history, windows)


@jit
def attention_lstm(n_threads: int, *arguments: Array) -> None:
    parallel_for(attention_lstm_item, n_threads, len(arguments[0]), arguments)


@jit
def attention_item(
    b: int,
    location: Array,
    processed_memory: Array,
    query: Array,
    energy_weight: Array,
    lengths: Array,
    memory: Array,
    history: Array,
    features: Array,
    state: Array,
    attention_input: Array,
    decoder_input: Array,
    alignment: Array,
) -> None:
    """Set the alignment [B, N], and copy context and hidden state to the inputs of both LSTMs."""
    attend_item(b, location, processed_memory, query, energy_weight, lengths, memory, history, features, history, state)
    padding = (history.shape[2] - alignment.shape[1] + 1) // 2
    alignment[b] = history[b, 0, padding : padding + alignment.shape[1]]
    attention_input[b, attention_input.shape[1] - state.shape[1] :] = state[b]
    decoder_input[b, : state.shape[1]] = state[b]


@jit
def attention(n_threads: int, *arguments: Array) -> None:
    parallel_for(attention_item, n_threads, len(arguments[0]), arguments)


@jit
def decoder_lstm_item(
    b: int,
    biases: Array,
    ones: Array,
    gates: Array,
    cell: Array,
    hidden: Array,
    decoder_input: Array,
    projection_input: Array,
    product: Array,
) -> None:
    """Step the decoder LSTM; its hidden state and the context [B, D + E] are the input of the output projection."""
    lstm_step_item(b, product, biases, cell, ones, gates, cell, hidden, decoder_input)
    n_hidden = hidden.shape[1]
    projection_input[b, :n_hidden] = hidden[b]
    for i in range(projection_input.shape[1] - n_hidden):
        projection_input[b, n_hidden + i] = to_float(decoder_input[b, i])


@jit
def decoder_lstm(n_threads: int, *arguments: Array) -> None:
    parallel_for(decoder_lstm_item, n_threads, len(arguments[0]), arguments)
