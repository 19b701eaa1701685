"""Spin barrier: threads of one numba loop wait for each other without sleeping, as they wait for microseconds only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from models.kernels.compile import jit

SPACING = 16
"""Distance between the counters of two threads, so that they lie in different cache lines."""
SPINS_BEFORE_YIELD = 20_000
"""Reads of a counter after which a thread yields the processor to others."""


def run_on_threads(function: Callable[..., None], n_threads: int, *arguments: Any) -> None:
    """Call `function(thread, n_threads, counters, *arguments)` on each thread and wait for all."""
    common = n_threads, np.zeros(n_threads * SPACING, np.int64), *arguments
    others = [threading.Thread(target=function, args=(i, *common)) for i in range(1, n_threads)]
    for other in others:
        other.start()
    function(0, *common)
    for other in others:
        other.join()


@jit
def wait_at_barrier(counters: np.ndarray, thread: int, n_threads: int) -> None:
    """Return when all threads have arrived; each then sees what the others have written before.

    `counters` hold how often each thread has arrived.
    """
    n_arrivals = counters[thread * SPACING] + 1
    _atomic_write(counters, thread * SPACING, n_arrivals)  # type: ignore[call-arg]
    for other in range(n_threads):
        n_spins = 0
        while _atomic_read(counters, other * SPACING) < n_arrivals:
            n_spins += 1
            if n_spins > SPINS_BEFORE_YIELD:
                _yield()


@intrinsic
def _atomic_read(_typing: Any, array: Any, i: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_address(context, builder, signature, arguments), "acquire", 8)

    return types.int64(array, i), build


@intrinsic
def _atomic_write(_typing: Any, array: Any, i: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[2], _address(context, builder, signature, arguments), "release", 8)
        return context.get_dummy_value()

    return types.void(array, i, value), build


@intrinsic
def _yield(_typing: Any) -> Any:
    def build(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        function_type = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, function_type, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), build


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])
