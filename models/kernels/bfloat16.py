"""Access to bfloat16 tensors from numba loops.

Neither numpy nor numba knows bfloat16. `numpy_view` gives such a tensor as uint16 bit patterns; inside a loop
`to_float` reads an element and `store` writes one. Both also work on float32 and float64 arrays, so one loop serves all
formats.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

DROPPED_BITS, ONE, ALMOST_HALF = np.uint32(16), np.uint32(1), np.uint32(0x7FFF)


def supports_bfloat16_matmul() -> bool:
    """Tell whether oneDNN multiplies bfloat16 matrices on this processor; elsewhere torch does it by plain operations.

    oneDNN itself is asked, because the instruction flags of torch.cpu do not reflect ONEDNN_MAX_CPU_ISA.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def numpy_view(x: Tensor) -> np.ndarray:
    """Array that shares the tensor's memory; bfloat16 becomes uint16 bit patterns."""
    array: np.ndarray = (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
    return array


def to_float(element: Any) -> Any:
    raise NotImplementedError("available in numba loops only")


def store(array: Any, i: Any, value: Any) -> None:
    raise NotImplementedError("available in numba loops only")


@numba.njit
def _float_of_bits(bits: Any) -> Any:
    return np.uint32(np.uint32(bits) << DROPPED_BITS).view(np.float32)


@numba.njit
def _rounded_bits(value: Any) -> Any:
    """Round to the nearest bfloat16, ties to even; a NaN that arithmetic produces stays NaN."""
    bits = np.float32(value).view(np.uint32)
    is_odd = np.uint32(np.uint32(bits >> DROPPED_BITS) & ONE)
    return np.uint16(np.uint32(bits + ALMOST_HALF + is_odd) >> DROPPED_BITS)


@overload(to_float)
def _to_float(element: Any) -> Any:
    def from_bits(element: Any) -> Any:
        return _float_of_bits(element)

    def unchanged(element: Any) -> Any:
        return element

    return from_bits if element == numba.uint16 else unchanged


@overload(store)
def _store(array: Any, i: Any, value: Any) -> Any:
    def as_bits(array: Any, i: Any, value: Any) -> None:
        array[i] = _rounded_bits(value)

    def unchanged(array: Any, i: Any, value: Any) -> None:
        array[i] = value

    return as_bits if array.dtype == numba.uint16 else unchanged
