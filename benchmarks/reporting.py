"""Printed result of a benchmark, the exit code that follows from it, and the interval of a share."""

from __future__ import annotations

import math
from collections.abc import Callable

Write = Callable[[str], object]
Z_95 = 1.96


def conclude(write: Write, *, is_met: bool) -> int:
    """Print whether the requirements are met; return the exit code."""
    write(f"{result_word(is_met)}\n")
    return 0 if is_met else 1


def result_word(is_met: bool) -> str:
    return "ok" if is_met else "MISSED"


def wilson_interval(n_hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = n_hits / n, Z_95**2
    middle, width = share + z2 / (2 * n), Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(0.0, (middle - width) / (1 + z2 / n)), min(1.0, (middle + width) / (1 + z2 / n))
