"""Numbers of tensors for numba's loops, bfloat16 too, which neither numpy nor numba know: there it is its bits."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

BITS, ONE, ALMOST_HALF = np.uint32(16), np.uint32(1), np.uint32(0x7FFF)


def supports_bfloat16_matmul() -> bool:
    """Tell whether oneDNN multiplies bfloat16 matrices on this processor; elsewhere torch does it by plain operations.

    oneDNN itself is asked: what torch.cpu tells of instructions knows nothing of ONEDNN_MAX_CPU_ISA.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def array_of(x: Tensor) -> np.ndarray:
    """What `widened` and `store` understand, in the tensor's own memory."""
    found: np.ndarray = (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
    return found


def widened(x: Any) -> Any:
    raise NotImplementedError("only in numba's loops")


def store(array: Any, i: Any, x: Any) -> None:
    raise NotImplementedError("only in numba's loops")


@numba.njit
def _of_bits(x: Any) -> Any:
    return np.uint32(np.uint32(x) << BITS).view(np.float32)


@numba.njit
def _rounded_bits(x: Any) -> Any:
    """To the nearest bfloat16, to the even one of two; a NaN that arithmetic makes stays one."""
    bits = np.float32(x).view(np.uint32)
    return np.uint16(np.uint32(bits + ALMOST_HALF + np.uint32(np.uint32(bits >> BITS) & ONE)) >> BITS)


@overload(widened)
def _widened(x: Any) -> Any:
    """A float of an array's element."""

    def of_bits(x: Any) -> Any:
        return _of_bits(x)

    def itself(x: Any) -> Any:
        return x

    return of_bits if x == numba.uint16 else itself


@overload(store)
def _store(array: Any, i: Any, x: Any) -> Any:
    def its_bits(array: Any, i: Any, x: Any) -> None:
        array[i] = _rounded_bits(x)

    def itself(array: Any, i: Any, x: Any) -> None:
        array[i] = x

    return its_bits if array.dtype == numba.uint16 else itself
