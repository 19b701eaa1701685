"""tanh and sigmoid for numba loops, vectorised in float32.

They replace math.tanh, which numba compiles to a call of the C library for each number: a million take 0.2 instead of
14 ms.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

FAST_MATH = {"contract", "reassoc", "nsz", "arcp"}
"""LLVM may reorder sums, but must not assume that NaN and infinity do not occur."""
SATURATION = 9.0  # beyond it tanh is 1 in float32
# x times a quotient of polynomials of x², fitted to tanh with a relative error below 7e-9; in float32 it is 3.4e-7
NUMERATOR = (-8.48879554e-14, 5.27798351e-11, -2.02253030e-08, 1.11543283e-05, 3.10395819e-03, 1.30840119e-01, 1.0)
DENOMINATOR = (2.54614806e-04, 2.44951863e-02, 4.64173390e-01, 1.0)


def tanh(x: Any) -> Any:
    return math.tanh(x)


def sigmoid(x: Any) -> Any:
    return (1 + math.tanh(x / 2)) / 2


@overload(tanh)
def _tanh(x: Any) -> Any:
    """In float32 a quotient of polynomials, which LLVM vectorises; in float64 the C library's."""
    (a, b, c, d, e, f, g), (h, i, j, k) = (tuple(map(np.float32, each)) for each in (NUMERATOR, DENOMINATOR))
    saturation = np.float32(SATURATION)

    def by_polynomials(x: Any) -> Any:
        x = saturation if x > saturation else x
        x = -saturation if x < -saturation else x
        y = x * x
        numerator = ((((((a * y + b) * y + c) * y + d) * y + e) * y + f) * y + g) * x
        return numerator / (((h * y + i) * y + j) * y + k)

    def by_c_library(x: Any) -> Any:
        return math.tanh(x)

    return by_polynomials if x == numba.float32 else by_c_library


@overload(sigmoid)
def _sigmoid(x: Any) -> Any:
    half = np.float32(0.5) if x == numba.float32 else 0.5

    def by_tanh(x: Any) -> Any:
        return half + half * tanh(half * x)

    return by_tanh
