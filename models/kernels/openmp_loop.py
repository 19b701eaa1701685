"""OpenMP loop: runs a numba function for i in range(n) on torch's own thread pool.

It replaces numba's prange. The loops here take microseconds and alternate with matrix products, so they need threads
that are still awake: torch's OpenMP threads spin for a while after each product. numba's own thread pools either sleep
in between or change torch's number of threads; on its own threads a training step of Tacotron 2 was a tenth slower. The
machine code calls GOMP_parallel, the function that a C compiler emits for `#pragma omp parallel`, in the OpenMP library
that torch has loaded.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

OPENMP_ENTRY = "GOMP_parallel"
"""GOMP_parallel(function, data, n_threads, flags): run function(data) on each thread and wait for all of them."""
INT64, INT32, POINTER = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
THREAD_FUNCTION = ir.FunctionType(ir.VoidType(), [POINTER])
NEXT_ITEM, N_ITEMS, N_FAILED, ARGUMENTS = range(4)
"""Fields of the struct that all threads share."""
_thread_function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
def serial_fallback(function: int, data: int, _n_threads: int, _flags: int) -> None:
    """Stand-in for GOMP_parallel where torch was built without OpenMP."""
    _thread_function(function)(data)


_address = ctypes.cast(getattr(ctypes.CDLL(None), OPENMP_ENTRY, serial_fallback), ctypes.c_void_p).value
llvmlite.binding.add_symbol(OPENMP_ENTRY, _address)


def _parallel_for(typing: Any, function: Any, n_threads: Any, n_items: Any, arguments: Any) -> Any:
    argument_types = (types.int64, *arguments.types)
    typing.resolve_function_type(function, argument_types, {})
    compiled = function.dispatcher.overloads[argument_types]

    def build(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        _, n_threads, n_items, arguments = values
        context.active_code_library.add_linking_library(compiled.library)
        shared = ir.LiteralStructType([INT64, INT64, INT64, arguments.type])
        data = cgutils.alloca_once(builder, shared)
        initial = {NEXT_ITEM: INT64(0), N_ITEMS: n_items, N_FAILED: INT64(0), ARGUMENTS: arguments}
        for field, value in initial.items():
            builder.store(value, _field(builder, data, field))
        function = _build_thread_function(context, builder.module, shared, compiled)
        entry_type = ir.FunctionType(ir.VoidType(), [THREAD_FUNCTION.as_pointer(), POINTER, INT32, INT32])
        entry = cgutils.get_or_insert_function(builder.module, entry_type, OPENMP_ENTRY)
        builder.call(entry, [function, builder.bitcast(data, POINTER), builder.trunc(n_threads, INT32), INT32(0)])
        n_failed = builder.load(_field(builder, data, N_FAILED))
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, n_failed)):
            message = "an exception was raised for an item of a parallel loop"
            context.call_conv.return_user_exc(builder, RuntimeError, (message,))
        return context.get_dummy_value()

    return types.void(function, types.int64, types.int64, arguments), build


parallel_for: Any = intrinsic(_parallel_for)
"""parallel_for(function, n_threads, n_items, arguments): call `function(i, *arguments)` for each i in range(n_items).

Items are scheduled dynamically: each thread takes the next one when it is ready.
"""


def _build_thread_function(context: Any, module: Any, shared: Any, compiled: Any) -> Any:
    """LLVM function that each thread runs: take the next item and process it, until none is left."""
    function = ir.Function(module, THREAD_FUNCTION, module.get_unique_name(f"loop.{compiled.fndesc.mangled_name}"))
    function.linkage = "internal"
    start, take, process, end = (function.append_basic_block(name) for name in ("start", "take", "process", "end"))
    builder = ir.IRBuilder(start)
    data = builder.bitcast(function.args[0], shared.as_pointer())
    n_items, arguments = (builder.load(_field(builder, data, field)) for field in (N_ITEMS, ARGUMENTS))
    builder.branch(take)
    builder.position_at_end(take)
    item = builder.atomic_rmw("add", _field(builder, data, NEXT_ITEM), INT64(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", item, n_items), process, end)
    builder.position_at_end(process)
    values = item, *cgutils.unpack_tuple(builder, arguments)
    status, _ = context.call_internal_no_propagate(builder, compiled.fndesc, compiled.signature, values)
    failed = builder.zext(status.is_error, INT64)
    builder.atomic_rmw("add", _field(builder, data, N_FAILED), failed, "monotonic")
    builder.branch(take)
    builder.position_at_end(end)
    builder.ret_void()
    return function


def _field(builder: Any, data: Any, i: int) -> Any:
    return cgutils.gep_inbounds(builder, data, 0, i)
