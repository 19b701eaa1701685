"""What detectors ask of a series of (step, value): windows, and statistics that one outlier cannot move."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Points = Sequence[tuple[int, float]]

NORMAL_SPREAD = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


@dataclass(frozen=True)
class Habit:
    """Median and spread of some values."""

    median: float
    spread: float
    count: int

    def deviations(self, value: float) -> float:
        """How many spreads a value lies above the median."""
        return (value - self.median) / self.spread


def habit_of(values: Sequence[float], *, least_spread: float) -> Habit | None:
    """None without a value; `least_spread` keeps a quiet series from making small changes look large."""
    if not values:
        return None
    median = statistics.median(values)
    spread = NORMAL_SPREAD * statistics.median(abs(value - median) for value in values)
    return Habit(median, max(spread, least_spread), len(values))


def slope(points: Points) -> float | None:
    """Theil-Sen slope a step, over at most some thirty points; None without three."""
    kept = points[:: max(1, len(points) // 30)]
    slopes = [
        (later - sooner) / (end - start)
        for i, (start, sooner) in enumerate(kept)
        for end, later in kept[i + 1 :]
        if end > start
    ]
    return statistics.median(slopes) if len(kept) >= 3 and slopes else None


def roughness(values: Sequence[float]) -> float:
    """Spread of the changes from point to point, without their trend."""
    changes = [later - sooner for sooner, later in pairwise(values)]
    if len(changes) < 2:
        return 0.0
    middle = statistics.median(changes)
    return NORMAL_SPREAD * statistics.median(abs(change - middle) for change in changes)
