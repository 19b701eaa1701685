from __future__ import annotations

import numpy as np
import pytest

from models.kernels.compile import in_numba
from models.kernels.spin_barrier import meet, together


@in_numba
def hand_round(
    thread: int, n_threads: int, arrivals: np.ndarray, values: np.ndarray, seen: np.ndarray, n_rounds: int
) -> None:
    """In each round one writes and all read; nobody is to read before or write too soon."""
    for i in range(n_rounds):
        if i % n_threads == thread:
            values[0] = values[0] * 3 + i
        meet(arrivals, thread, n_threads)
        seen[thread, i] = values[0]
        meet(arrivals, thread, n_threads)


@pytest.mark.parametrize("n_threads", [1, 2, 5])  # also more than there are cores
def test_what_one_has_written_before_a_meeting_is_there_for_all_after_it(n_threads: int) -> None:
    n_rounds = 300
    values, seen = np.zeros(1, np.int64), np.zeros((n_threads, n_rounds), np.int64)
    together(hand_round, n_threads, values, seen, n_rounds)
    expected = np.zeros(n_rounds, np.int64)
    value = np.zeros(1, np.int64)
    for i in range(n_rounds):
        value = value * 3 + i
        expected[i] = value[0]
    assert (seen == expected).all()
