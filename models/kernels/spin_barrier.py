"""Threads in one of numba's loops wait for one another without sleeping, since they have microseconds to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from models.kernels.compile import in_numba

APART = 16
"""Counters of two threads lie in different lines of the cache."""
PATIENCE = 20_000
"""Looks at a counter; after these the processor is left to whoever may need it."""


def together(function: Callable[..., None], n_threads: int, *shared: Any) -> None:
    """Calls it with the number of a thread, that of all, their arrivals and what they share; returns when all have."""
    all_threads = n_threads, np.zeros(n_threads * APART, np.int64), *shared
    others = [threading.Thread(target=function, args=(i, *all_threads)) for i in range(1, n_threads)]
    for other in others:
        other.start()
    function(0, *all_threads)
    for other in others:
        other.join()


@in_numba
def meet(arrivals: np.ndarray, thread: int, n_threads: int) -> None:
    """`arrivals` are how often each has come. Returns when all have; what each has written before is there for all."""
    times = arrivals[thread * APART] + 1
    _write(arrivals, thread * APART, times)  # type: ignore[call-arg]
    for other in range(n_threads):
        looks = 0
        while _read(arrivals, other * APART) < times:
            looks += 1
            if looks > PATIENCE:
                _yield()


@intrinsic
def _read(_typing: Any, counts: Any, i: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, arguments), "acquire", 8)

    return types.int64(counts, i), build


@intrinsic
def _write(_typing: Any, counts: Any, i: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[2], _place(context, builder, signature, arguments), "release", 8)
        return context.get_dummy_value()

    return types.void(counts, i, value), build


@intrinsic
def _yield(_typing: Any) -> Any:
    def build(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), build


def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])
