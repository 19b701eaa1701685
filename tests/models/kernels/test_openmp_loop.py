"""The parallel loop processes each item once, on several threads or, without OpenMP, on one."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

from files import REPOSITORY
from models.kernels.compile import jit
from models.kernels.openmp_loop import parallel_for

MEETING_PROGRAM = """
import numpy as np
from tests.models.kernels.test_openmp_loop import wait_for_each_other
wait_for_each_other(2, np.zeros(2, np.int64))
"""
SERIAL_PROGRAM = """
import ctypes
import llvmlite.binding
import numpy as np
from models.kernels.openmp_loop import OPENMP_ENTRY, serial_fallback
llvmlite.binding.add_symbol(OPENMP_ENTRY, ctypes.cast(serial_fallback, ctypes.c_void_p).value)
from tests.models.kernels.test_openmp_loop import count
x = np.zeros(9)
count(2, x, 3.0)
print(*x)
"""


@jit
def count_item(i: int, x: np.ndarray, step: float) -> None:
    if step < 0:
        raise ValueError("backwards")
    x[i] += 1 + step * i


@jit
def count(n_threads: int, *arguments: Any) -> None:
    parallel_for(count_item, n_threads, len(arguments[0]), arguments)


sched_yield = ctypes.CDLL(None).sched_yield
sched_yield.argtypes, sched_yield.restype = (), ctypes.c_int


@numba.njit(nogil=True)
def wait_for_each_other_item(i: int, arrived: np.ndarray) -> None:
    """Return when both items have begun; the call makes the compiler read the array anew."""
    arrived[i] = 1
    while arrived[1 - i] == 0:
        sched_yield()


@numba.njit(nogil=True)
def wait_for_each_other(n_threads: int, *arguments: Any) -> None:
    parallel_for(wait_for_each_other_item, n_threads, 2, arguments)


def test_two_threads_run_at_the_same_time() -> None:
    """In a process of its own: with one thread only, the first item would wait for ever."""
    subprocess.run([sys.executable, "-c", MEETING_PROGRAM], cwd=REPOSITORY, check=True, timeout=100)


@pytest.mark.parametrize("n_threads", [1, 2, 5])  # also more than there are cores
def test_each_item_is_processed_once(n_threads: int) -> None:
    x = np.zeros(1000)
    for _ in range(20):
        count(n_threads, x, 3.0)
    assert (x == 20 * (1 + 3.0 * np.arange(1000))).all()


def test_a_loop_over_no_items_does_nothing() -> None:
    count(2, np.zeros(0), 3.0)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_exception_on_any_thread_reaches_the_caller(n_threads: int) -> None:
    with pytest.raises(RuntimeError, match="an exception was raised for an item of a parallel loop"):
        count(n_threads, np.zeros(9), -1.0)


def test_without_openmp_one_thread_processes_all_items() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERIAL_PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert list(map(float, done.stdout.split())) == list(1 + 3.0 * np.arange(9))
