from __future__ import annotations

import threading

import numpy as np
import pytest

from models.compiled import in_numba
from models.meeting import arrivals_of, meet


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
    arrivals, values, seen = arrivals_of(n_threads), np.zeros(1, np.int64), np.zeros((n_threads, n_rounds), np.int64)
    shared = n_threads, arrivals, values, seen, n_rounds
    others = [threading.Thread(target=hand_round, args=(i, *shared)) for i in range(1, n_threads)]
    for other in others:
        other.start()
    hand_round(0, *shared)
    for other in others:
        other.join()
    expected = np.zeros(n_rounds, np.int64)
    value = np.zeros(1, np.int64)
    for i in range(n_rounds):
        value = value * 3 + i
        expected[i] = value[0]
    assert (seen == expected).all()
