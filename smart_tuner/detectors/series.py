"""Robust statistics of a signal's points, which a single outlier cannot move."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from smart_tuner.inputs.run_view import Points

MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution, as a multiple of its median absolute deviation."""


@dataclass(frozen=True)
class Baseline:
    """Median and spread of a signal's usual values."""

    median: float
    spread: float
    count: int

    def deviations(self, value: float) -> float:
        """Distance of a value above the median, in spreads."""
        return (value - self.median) / self.spread


def measure_baseline(values: Sequence[float], *, least_spread: float) -> Baseline | None:
    """None without a value; `least_spread` prevents small changes of a quiet signal from looking large."""
    if not values:
        return None
    median = statistics.median(values)
    spread = MAD_TO_DEVIATION * statistics.median(abs(value - median) for value in values)
    return Baseline(median, max(spread, least_spread), len(values))


def slope(points: Points) -> float | None:
    """Theil-Sen slope per step, from about thirty of the points at most; None for fewer than three."""
    sample = points[:: max(1, len(points) // 30)]
    slopes = [
        (later - earlier) / (end - start)
        for i, (start, earlier) in enumerate(sample)
        for end, later in sample[i + 1 :]
        if end > start
    ]
    return statistics.median(slopes) if len(sample) >= 3 and slopes else None


def median_level(points: Points, step: int, window: int) -> float | None:
    """Median of the window up to a step; None without a point in it."""
    values = [value for at, value in points if step - window < at <= step]
    return statistics.median(values) if values else None


def change_spread(values: Sequence[float]) -> float:
    """Spread of the changes from value to value, with their trend removed: the noise of a signal."""
    changes = [later - earlier for earlier, later in pairwise(values)]
    if len(changes) < 2:
        return 0.0
    median = statistics.median(changes)
    return MAD_TO_DEVIATION * statistics.median(abs(change - median) for change in changes)
