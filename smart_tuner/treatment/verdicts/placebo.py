"""Placebo gains: what a signal gained over its forecast at moments of the run when nothing was done."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smart_tuner.detectors.series import MAD_TO_DEVIATION
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import Points
from smart_tuner.treatment.interventions import Expectation
from smart_tuner.treatment.verdicts.forecast import forecast_points, gain_over, level_points
from smart_tuner.treatment.verdicts.student import student_limit

MIN_GAINS = 3
"""With fewer that do not overlap, no gain can be told from chance."""
ERROR_RATE = 0.025  # of either side
ENOUGH_GAINS = 20
"""From so many on, one in twenty may be exceeded."""
MAX_MOMENTS = 60

Comparison = Literal["better", "worse", "usual"]
Period = tuple[int, int]
"""First and last step."""


@dataclass(frozen=True)
class PlaceboGains:
    """Gains in the expected direction, sorted; as log ratios or differences, like the gain of an intervention."""

    gains: Sequence[float]
    n_apart: int  # of them, at most so many do not overlap in time

    def compare(self, gain: float) -> Comparison:
        """Whether a gain lies beyond what happens without an intervention."""
        if self.n_apart < MIN_GAINS:
            return "usual"
        if gain > self._limit(1):
            return "better"
        return "worse" if -gain > self._limit(-1) else "usual"

    def _limit(self, sign: int) -> float:
        """Limit of usual gains, or of usual losses (sign −1)."""
        gains = sorted(sign * gain for gain in self.gains)
        median = statistics.median(gains)
        spread = MAD_TO_DEVIATION * statistics.median(abs(gain - median) for gain in gains)
        beyond = len(gains) // ENOUGH_GAINS
        deviations = student_limit(ERROR_RATE, self.n_apart - 1) * math.sqrt(1 + 1 / self.n_apart)
        return max(gains[-1 - beyond], median + deviations * spread)


def measure_placebo(
    points: Points, expected: Expectation, horizon: int, treated: Sequence[Period], facts: RunFacts
) -> PlaceboGains:
    """Gains of the signal over forecasts of so many steps, none of which meets a treated period."""
    gains, n_apart, nearest = [], 0, math.inf
    for end in _moments(points, horizon):
        now = points[end][0]
        if any(first <= now + horizon and last > now for first, last in treated):
            continue
        forecast = forecast_points(points[: end + 1], expected.signal, facts, by_step=now + horizon)
        if forecast is not None:
            value = level_at(points, now + horizon, expected.signal, facts)
            gains.append(gain_over(expected, value, forecast.value, facts))
            if now + horizon <= nearest:  # moments are visited from the latest on
                n_apart, nearest = n_apart + 1, now
    return PlaceboGains(gains, n_apart)


def _moments(points: Points, horizon: int) -> list[int]:
    """Indices of the last points known at moments after which the signal was measured for a horizon."""
    if not points:
        return []
    last = bisect_right(points, points[-1][0] - horizon, key=lambda point: point[0])
    every = max(1, last // MAX_MOMENTS)
    return list(range(last - 1, 1, -every))


def level_at(points: Points, step: int, signal: str, facts: RunFacts) -> float:
    """Level of a signal at a step: of the points up to it, or of the first one after it if it is measured rarely."""
    n_level = level_points(signal, facts)
    after = bisect_right(points, step, key=lambda point: point[0])
    if n_level == 1:
        after = after if points[after - 1][0] == step else after + 1
    return statistics.median(value for _, value in points[max(0, after - n_level) : after])
