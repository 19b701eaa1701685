"""tanh and sigmoid for numba's loops, which would compute the C library's one number after the other."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

FAST_MATH = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be taken in any order; but what is no number stays none."""
LARGEST = 9.0  # beyond it tanh is 1 in float32
# x times a quotient of polynomials of x², fitted to tanh with a relative error below 7e-9; in float32 it is 3.4e-7
ABOVE = (-8.48879554e-14, 5.27798351e-11, -2.02253030e-08, 1.11543283e-05, 3.10395819e-03, 1.30840119e-01, 1.0)
BELOW = (2.54614806e-04, 2.44951863e-02, 4.64173390e-01, 1.0)


def tanh(x: Any) -> Any:
    return math.tanh(x)


def sigmoid(x: Any) -> Any:
    return (1 + math.tanh(x / 2)) / 2


@overload(tanh)
def _tanh(x: Any) -> Any:
    """In float32 by polynomials, sixteen numbers at once."""
    (a, b, c, d, e, f, g), (h, i, j, k) = (tuple(map(np.float32, each)) for each in (ABOVE, BELOW))
    largest = np.float32(LARGEST)

    def by_polynomials(x: Any) -> Any:
        x = largest if x > largest else x
        x = -largest if x < -largest else x
        y = x * x
        above = ((((((a * y + b) * y + c) * y + d) * y + e) * y + f) * y + g) * x
        return above / (((h * y + i) * y + j) * y + k)

    def exactly(x: Any) -> Any:
        return math.tanh(x)

    return by_polynomials if x == numba.float32 else exactly


@overload(sigmoid)
def _sigmoid(x: Any) -> Any:
    half = np.float32(0.5) if x == numba.float32 else 0.5

    def by_tanh(x: Any) -> Any:
        return half + half * tanh(half * x)

    return by_tanh
