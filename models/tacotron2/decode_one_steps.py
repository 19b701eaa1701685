"""Several decoder steps of one item in numba, computed by several threads that run the same function.

P prenet units, H attention LSTM units, D decoder LSTM units, A attention features, O outputs (frames and gate logit),
S steps, N tokens, K taps of the location convolution. "Product format" is possibly bfloat16, as `numpy_view` gives it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.bfloat16 import to_float
from models.kernels.compile import jit
from models.kernels.fast_tanh import tanh
from models.kernels.lstm_steps import lstm_step_item
from models.kernels.spin_barrier import wait_at_barrier
from models.tacotron2.attention_cpu_steps import dot, softmax_in_place, weighted_sum

Array = np.ndarray
STREAMS = 8


class SingleWeights(NamedTuple):
    """Arrays that do not change.

    No context is computed. Everything that a context is multiplied with is known for each token in advance (`shares`,
    biases included); as the attention sums to one, its weighted sum of shares is what the context would have given.
    """

    prenet: Array  # [P, O - 1] product format
    prenet_2: Array  # [P, P] product format
    attention_lstm: Array  # [4H, P + H] product format
    query: Array  # [A, H] product format
    location: Array  # [2K, A]
    energy: Array  # [A]
    decoder_lstm: Array  # [4D, H + D] product format
    output: Array  # [O, D] product format
    shares: Array  # [N, 4H + 4D + O] product format
    processed_memory: Array  # [N, A] the memory's share of the features; product format
    keep: Array  # [S, 2, P] scaled dropout masks of the prenet


class SingleState(NamedTuple):
    """Arrays that carry over from step to step, or from one thread to another."""

    context_shares: Array  # [4H + 4D + O] weighted sum of the shares
    attention_input: Array  # [1, P + H] of the attention LSTM
    decoder_input: Array  # [1, H + D] of the decoder LSTM
    attention_cell: Array  # [1, H]
    decoder_cell: Array  # [1, D]
    history: Array  # [2, N + K - 1] last and cumulative attention, with zeros on both sides
    outputs: Array  # [S, O]
    alignments: Array  # [S, N or more]
    attention_product: Array  # [1, 4H]
    decoder_product: Array  # [1, 4D]
    query: Array  # [A]
    energies: Array  # [N]


@jit
def decode_steps(
    thread: int, n_threads: int, counters: Array, stop_logit: float, weights: SingleWeights, state: SingleState
) -> None:
    """Compute steps until the gate logit is above `stop_logit`."""
    for t in range(len(state.outputs)):
        if thread == 0:
            _run_prenet(t, weights, state)
        wait_at_barrier(counters, thread, n_threads)
        _multiply(weights.attention_lstm, state.attention_input[0], state.attention_product[0], thread, n_threads)
        wait_at_barrier(counters, thread, n_threads)
        if thread == 0:
            _step_attention_lstm(weights, state)
        wait_at_barrier(counters, thread, n_threads)
        _compute_energies(weights, state, thread, n_threads)
        wait_at_barrier(counters, thread, n_threads)
        if thread == 0:
            _set_attention(t, weights, state)
        wait_at_barrier(counters, thread, n_threads)
        begin, end = _range_of_thread(len(state.context_shares), thread, n_threads)
        weighted_sum(_history_of_tokens(weights, state, 0), weights.shares, begin, end, state.context_shares)
        _multiply(weights.decoder_lstm, state.decoder_input[0], state.decoder_product[0], thread, n_threads)
        wait_at_barrier(counters, thread, n_threads)
        if thread == 0:
            _step_decoder_lstm(t, weights, state)
        wait_at_barrier(counters, thread, n_threads)
        if state.outputs[t, -1] > stop_logit:
            return


@jit
def _run_prenet(t: int, weights: SingleWeights, state: SingleState) -> None:
    n_prenet, n_frames = weights.prenet.shape
    hidden, output = np.empty(n_prenet, state.outputs.dtype), state.attention_input[0, :n_prenet]
    _multiply(weights.prenet, state.outputs[t - 1, :n_frames], hidden, 0, 1)
    _relu_dropout(hidden, weights.keep[t, 0])
    _multiply(weights.prenet_2, hidden, output, 0, 1)
    _relu_dropout(output, weights.keep[t, 1])


@jit
def _relu_dropout(x: Array, keep: Array) -> None:
    for i in range(len(x)):
        x[i] = max(x[i], 0) * keep[i]


@jit
def _step_attention_lstm(weights: SingleWeights, state: SingleState) -> None:
    cell, n_hidden = state.attention_cell, state.attention_cell.shape[1]
    hidden, ones, gates = np.empty_like(cell), np.ones_like(cell), np.empty_like(state.attention_product)
    shares = state.context_shares[: 4 * n_hidden].reshape(1, -1)
    lstm_step_item(0, state.attention_product, shares, cell, ones, gates, cell, hidden, state.attention_input)
    state.decoder_input[0, :n_hidden] = hidden[0]
    _multiply(weights.query, hidden[0], state.query, 0, 1)


@jit
def _compute_energies(weights: SingleWeights, state: SingleState, thread: int, n_threads: int) -> None:
    """Set the energies of this thread's part of the tokens."""
    begin, end = _range_of_thread(len(weights.processed_memory), thread, n_threads)
    query, kernel_size, features = state.query, len(weights.location) // 2, np.empty_like(state.query)
    for n in range(begin, end):
        processed_memory = weights.processed_memory[n]
        for a in range(len(query)):
            features[a] = query[a] + to_float(processed_memory[a])
        for kind in range(2):
            for k in range(kernel_size):
                value, weight = state.history[kind, n + k], weights.location[kind * kernel_size + k]
                for a in range(len(query)):
                    features[a] += value * weight[a]
        for a in range(len(query)):
            features[a] = tanh(features[a])
        state.energies[n] = dot(features, weights.energy)


@jit
def _history_of_tokens(weights: SingleWeights, state: SingleState, kind: int) -> Array:
    """The last (0) or cumulative (1) attention [N], without padding."""
    padding = len(weights.location) // 4
    return state.history[kind, padding : padding + len(weights.shares)]


@jit
def _set_attention(t: int, weights: SingleWeights, state: SingleState) -> None:
    attention, cumulative = _history_of_tokens(weights, state, 0), _history_of_tokens(weights, state, 1)
    attention[:] = state.energies
    softmax_in_place(attention)
    cumulative += attention
    state.alignments[t, : len(attention)] = attention


@jit
def _step_decoder_lstm(t: int, weights: SingleWeights, state: SingleState) -> None:
    """Step the decoder LSTM and set the outputs."""
    cell, first, n_gates = state.decoder_cell, 4 * state.attention_cell.shape[1], 4 * state.decoder_cell.shape[1]
    hidden, ones, gates = np.empty_like(cell), np.ones_like(cell), np.empty_like(state.decoder_product)
    shares = state.context_shares[first : first + n_gates].reshape(1, -1)
    lstm_step_item(0, state.decoder_product, shares, cell, ones, gates, cell, hidden, state.decoder_input)
    _multiply(weights.output, hidden[0], state.outputs[t], 0, 1)
    state.outputs[t] += state.context_shares[first + n_gates :]


@jit
def _range_of_thread(length: int, thread: int, n_threads: int) -> tuple[int, int]:
    return length * thread // n_threads, length * (thread + 1) // n_threads


@jit
def _multiply(weight: Array, x: Array, product: Array, thread: int, n_threads: int) -> None:
    """Set this thread's part of weight @ x, the weight in product format.

    Rows are read as several streams far from each other, which the processor's prefetcher follows better: it takes two
    thirds of the time of row after row.
    """
    begin, end = _range_of_thread(len(weight), thread, n_threads)
    n = (end - begin) // STREAMS
    for i in range(begin, begin + n):
        a, b, c, d = weight[i], weight[i + n], weight[i + 2 * n], weight[i + 3 * n]
        e, f, g, h = weight[i + 4 * n], weight[i + 5 * n], weight[i + 6 * n], weight[i + 7 * n]
        sum_a = sum_b = sum_c = sum_d = sum_e = sum_f = sum_g = sum_h = type(x[0])(0)
        for k in range(len(a)):
            sum_a += x[k] * to_float(a[k])
            sum_b += x[k] * to_float(b[k])
            sum_c += x[k] * to_float(c[k])
            sum_d += x[k] * to_float(d[k])
            sum_e += x[k] * to_float(e[k])
            sum_f += x[k] * to_float(f[k])
            sum_g += x[k] * to_float(g[k])
            sum_h += x[k] * to_float(h[k])
        for stream, total in enumerate((sum_a, sum_b, sum_c, sum_d, sum_e, sum_f, sum_g, sum_h)):
            product[i + stream * n] = total
    for i in range(begin + STREAMS * n, end):
        product[i] = dot(x[: weight.shape[1]], weight[i])
