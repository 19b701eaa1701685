"""What a detector may look at: the signals up to now, the facts of the run, and which ailments it already has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitoring.measures.history import SignalHistory
from smart_tuner.inputs.outliers import OutlierMemory
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.settings import QualityControl

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class RunView:
    """The state of a run at one step; points up to `begin` belong to an attempt that was given up."""

    step: int
    begin: int
    history: SignalHistory
    outliers: OutlierMemory
    facts: RunFacts
    quality: QualityControl
    phase: str
    knobs: Mapping[str, float] = field(default_factory=dict)
    active: Mapping[str, int] = field(default_factory=dict)  # ailment → since which step
    helpless: Mapping[str, int] = field(default_factory=dict)  # critical ailment → since when no remedy is left

    @property
    def steps_done(self) -> int:
        """Of this attempt."""
        return self.step - self.begin

    def points(self, name: str, n_steps: int | None = None) -> Points:
        """The known points of a signal, oldest first: of this attempt, or of its last steps."""
        first = self.begin + 1 if n_steps is None else max(self.begin + 1, self.step - n_steps + 1)
        return self.history.since(name, first)

    def log_points(self, name: str, n_steps: int | None = None) -> Points:
        """The logarithms of a signal, in which a factor is a difference; what goes below zero untold has none."""
        points = self.points(name, n_steps)
        if self.facts.is_logarithm(name):
            return points
        if any(value < 0 for _, value in points):
            return []
        return [(step, math.log(value)) for step, value in points if value > 0]

    def values(self, name: str, n_steps: int | None = None) -> list[float]:
        return [value for _, value in self.points(name, n_steps)]
