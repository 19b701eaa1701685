from __future__ import annotations

import numpy as np
import pytest

from models.kernels.compile import jit
from models.kernels.spin_barrier import run_on_threads, wait_at_barrier


@jit
def write_and_read_in_turns(
    thread: int, n_threads: int, counters: np.ndarray, values: np.ndarray, seen: np.ndarray, n_rounds: int
) -> None:
    """In each round one thread writes and all read; a leaky barrier lets some read or write too early."""
    for i in range(n_rounds):
        if i % n_threads == thread:
            values[0] = values[0] * 3 + i
        wait_at_barrier(counters, thread, n_threads)
        seen[thread, i] = values[0]
        wait_at_barrier(counters, thread, n_threads)


@pytest.mark.parametrize("n_threads", [1, 2, 5])  # also more than there are cores
def test_after_the_barrier_all_threads_see_writes_from_before_it(n_threads: int) -> None:
    n_rounds = 300
    values, seen = np.zeros(1, np.int64), np.zeros((n_threads, n_rounds), np.int64)
    run_on_threads(write_and_read_in_turns, n_threads, values, seen, n_rounds)
    expected = np.zeros(n_rounds, np.int64)
    value = np.zeros(1, np.int64)
    for i in range(n_rounds):
        value = value * 3 + i
        expected[i] = value[0]
    assert (seen == expected).all()
