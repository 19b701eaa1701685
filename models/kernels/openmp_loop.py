"""Loops over items that torch's own threads share: those wait for one another awake, so that microseconds are worth it.

numba's pools would either sleep in between, or change how many threads torch has.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

STARTS = "GOMP_parallel"
"""Of the library of torch's threads: calls a function with its data on so many of them, and waits for all."""
WORD, SHORT, PLACE = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
WORK = ir.FunctionType(ir.VoidType(), [PLACE])
_work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
def _alone(work: int, data: int, _n_threads: int, _flags: int) -> None:
    _work(work)(data)


_starts = ctypes.cast(getattr(ctypes.CDLL(None), STARTS, _alone), ctypes.c_void_p).value
llvmlite.binding.add_symbol(STARTS, _starts)


def _share(typing: Any, function: Any, n_threads: Any, n_items: Any, given: Any) -> Any:
    argument_types = (types.int64, *given.types)
    typing.resolve_function_type(function, argument_types, {})
    compiled = function.dispatcher.overloads[argument_types]

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _, n_threads, n_items, given = arguments
        context.active_code_library.add_linking_library(compiled.library)
        # the next item, how many there are, how many have failed, what is given
        shared = ir.LiteralStructType([WORD, WORD, WORD, given.type])
        data = cgutils.alloca_once(builder, shared)
        for i, value in enumerate((WORD(0), n_items, WORD(0), given)):
            builder.store(value, _field(builder, data, i))
        work = _take_items(context, builder.module, shared, compiled)
        kind = ir.FunctionType(ir.VoidType(), [WORK.as_pointer(), PLACE, SHORT, SHORT])
        start = cgutils.get_or_insert_function(builder.module, kind, STARTS)
        builder.call(start, [work, builder.bitcast(data, PLACE), builder.trunc(n_threads, SHORT), SHORT(0)])
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, builder.load(_field(builder, data, 2)))):
            context.call_conv.return_user_exc(builder, RuntimeError, ("an item of a loop that threads share failed",))
        return context.get_dummy_value()

    return types.void(function, types.int64, types.int64, given), build


share: Any = intrinsic(_share)
"""share(function, n_threads, n_items, given): `function(i, *given)` for each item; who is ready takes the next one."""


def _take_items(context: Any, module: Any, shared: Any, compiled: Any) -> Any:
    """What each thread does."""
    work = ir.Function(module, WORK, module.get_unique_name(f"share.{compiled.fndesc.mangled_name}"))
    work.linkage = "internal"
    begin, look, go, end = (work.append_basic_block(name) for name in ("begin", "look", "go", "end"))
    builder = ir.IRBuilder(begin)
    data = builder.bitcast(work.args[0], shared.as_pointer())
    n_items, given = (builder.load(_field(builder, data, i)) for i in (1, 3))
    builder.branch(look)
    builder.position_at_end(look)
    item = builder.atomic_rmw("add", _field(builder, data, 0), WORD(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", item, n_items), go, end)
    builder.position_at_end(go)
    arguments = item, *cgutils.unpack_tuple(builder, given)
    status, _ = context.call_internal_no_propagate(builder, compiled.fndesc, compiled.signature, arguments)
    builder.atomic_rmw("add", _field(builder, data, 2), builder.zext(status.is_error, WORD), "monotonic")
    builder.branch(look)
    builder.position_at_end(end)
    builder.ret_void()
    return work


def _field(builder: Any, data: Any, i: int) -> Any:
    return cgutils.gep_inbounds(builder, data, 0, i)
