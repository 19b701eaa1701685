"""Loops that torch's threads share: each item once, whoever takes it, and with one thread where there are no others."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from files import REPOSITORY
from models.kernels.compile import in_numba
from models.kernels.openmp_loop import share
from models.kernels.spin_barrier import meet

TOGETHER = """
import numpy as np
from models.kernels.spin_barrier import APART
from tests.models.kernels.test_openmp_loop import come_together
come_together(2, np.zeros(2 * APART, np.int64))
"""
ROOT = REPOSITORY
PROGRAM = """
import ctypes
import llvmlite.binding
import numpy as np
from models.kernels.openmp_loop import STARTS, _alone
llvmlite.binding.add_symbol(STARTS, ctypes.cast(_alone, ctypes.c_void_p).value)
from tests.models.kernels.test_openmp_loop import count
x = np.zeros(9)
count(2, x, 3.0)
print(*x)
"""


@in_numba
def count_of(i: int, x: np.ndarray, step: float) -> None:
    if step < 0:
        raise ValueError("backwards")
    x[i] += 1 + step * i


@in_numba
def count(n_threads: int, *given: Any) -> None:
    share(count_of, n_threads, len(given[0]), given)


@in_numba
def come_together_of(i: int, arrivals: np.ndarray) -> None:
    meet(arrivals, i, 2)


@in_numba
def come_together(n_threads: int, *given: Any) -> None:
    share(come_together_of, n_threads, 2, given)


def test_two_threads_are_at_work_at_once() -> None:
    """In a process of its own, since one thread alone would wait for ever."""
    subprocess.run([sys.executable, "-c", TOGETHER], cwd=ROOT, check=True, timeout=100)


@pytest.mark.parametrize("n_threads", [1, 2, 5])  # also more than there are cores
def test_each_item_is_taken_once(n_threads: int) -> None:
    x = np.zeros(1000)
    for _ in range(20):
        count(n_threads, x, 3.0)
    assert (x == 20 * (1 + 3.0 * np.arange(1000))).all()


def test_no_items_are_nothing_to_do() -> None:
    count(2, np.zeros(0), 3.0)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_what_fails_on_any_thread_is_said(n_threads: int) -> None:
    with pytest.raises(RuntimeError, match="an item of a loop that threads share failed"):
        count(n_threads, np.zeros(9), -1.0)


def test_without_a_library_of_threads_one_does_it_all() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert list(map(float, done.stdout.split())) == list(1 + 3.0 * np.arange(9))
