"""A detector's view of a run: its signals up to now, its facts, and the ailments that are present already."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from monitoring.measures.history import SignalHistory
from smart_tuner.inputs.held_out import DistanceHistory
from smart_tuner.inputs.outliers import OutlierHistory
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.settings import QualityControl

Points = Sequence[tuple[int, float]]
"""(step, value), oldest first."""


@dataclass(frozen=True)
class RunView:
    """State of a run at one step. An attempt is the training since the last restart; older points do not count."""

    step: int
    attempt_start: int  # the step of the last restart; 0 without one
    history: SignalHistory
    outliers: OutlierHistory
    facts: RunFacts
    quality: QualityControl
    phase: str
    knobs: Mapping[str, float] = field(default_factory=dict)
    active: Mapping[str, int] = field(default_factory=dict)  # ailment → the step it began at
    untreatable: Mapping[str, int] = field(default_factory=dict)  # critical ailment → step since when no remedy is left
    distances: DistanceHistory = field(default_factory=DistanceHistory)
    odd_utterances: tuple[str, ...] = ()  # the group that the last evaluation found

    @property
    def attempt_steps(self) -> int:
        """Steps done in this attempt."""
        return self.step - self.attempt_start

    @property
    def failing_diagonality(self) -> float:
        """Below it an alignment has failed; above it, it begins to form."""
        by_search, quality = bool(self.facts.search_patience_steps), self.quality
        return quality.posterior_diagonality_threshold if by_search else quality.attention_diagonality_threshold

    @property
    def formed_diagonality(self) -> float:
        """From it on an alignment has formed, and more training sharpens it."""
        return (self.failing_diagonality + self.healthy_diagonality) / 2

    @property
    def healthy_diagonality(self) -> float:
        """From it on nothing about an alignment needs help."""
        by_search, quality = bool(self.facts.search_patience_steps), self.quality
        return quality.posterior_diagonality_target if by_search else quality.attention_diagonality_target

    def points(self, name: str, n_steps: int | None = None) -> Points:
        """Known points of a signal in this attempt, or in the last `n_steps` of it."""
        first = self.attempt_start + 1
        if n_steps is not None:
            first = max(first, self.step - n_steps + 1)
        return self.history.since(name, first)

    def levels(self, name: str, n: int, *, spacing: int = 1, until: int | None = None) -> Points:
        """Medians of the latest `n` strides, each at its last known step; incomplete strides do not count.

        `spacing`: steps between two measurements of the signal; a stride then has as many measurements.
        `until`: the last step that counts, instead of the present one.
        """
        size = spacing * self.facts.stride_steps
        end = (self.step if until is None else until) // size * size
        points = self.history.between(name, max(self.attempt_start + 1, end - n * size + 1), end)
        if size == 1:
            return points
        groups = groupby(points, key=lambda point: (point[0] - 1) // size)
        strides = [list(group) for _, group in groups]
        return [(stride[-1][0], statistics.median([value for _, value in stride])) for stride in strides]

    def log_levels(self, name: str, n: int, *, spacing: int = 1, until: int | None = None) -> Points:
        """Logarithms of a signal's levels, as `log_points` takes them."""
        return self._logarithms(name, self.levels(name, n, spacing=spacing, until=until))

    def log_levels_before(self, ailment: str, name: str, n: int, *, recent: int) -> Points:
        """The latest levels before the recent ones and, if it is active, before the ailment."""
        recent_start = self.step // self.facts.stride_steps * self.facts.stride_steps - recent * self.facts.stride_steps
        return self.log_levels(name, n, until=min(recent_start, self.active.get(ailment, self.step) - 1))

    def first_step_of(self, level: tuple[int, float]) -> int:
        """First step of the stride that a level was measured in."""
        return (level[0] - 1) // self.facts.stride_steps * self.facts.stride_steps + 1

    def log_points(self, name: str, n_steps: int | None = None) -> Points:
        """Points of a signal's logarithm; empty if a value is negative and the signal is not a logarithm itself."""
        return self._logarithms(name, self.points(name, n_steps))

    def _logarithms(self, name: str, points: Points) -> Points:
        if self.facts.is_logarithm(name):
            return points
        if any(value < 0 for _, value in points):
            return []
        return [(step, math.log(value)) for step, value in points if value > 0]

    def values(self, name: str, n_steps: int | None = None) -> list[float]:
        return [value for _, value in self.points(name, n_steps)]
