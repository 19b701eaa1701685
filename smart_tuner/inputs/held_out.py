"""Held-out distances: how far each held-out utterance is from its recording, evaluation by evaluation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SMOOTHED = 3
"""Evaluations whose median counts: the best of many single ones is a lucky one."""


@dataclass
class DistanceHistory:
    """Logarithms of the distances at each evaluation of the run, oldest first."""

    evaluations: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def record(self, step: int, distances: Mapping[str, float]) -> None:
        """Record an evaluation; one in which nothing was said has no distances."""
        self.evaluations.append((step, {id_: math.log(value) for id_, value in distances.items() if value > 0}))

    def drop_after(self, step: int) -> None:
        self.evaluations = [evaluation for evaluation in self.evaluations if evaluation[0] <= step]

    def latest(self) -> dict[str, float]:
        """Distances at the latest evaluation; empty without one."""
        values = self.evaluations[-1][1] if self.evaluations else {}
        return {id_: math.exp(value) for id_, value in values.items()}

    def levels(self) -> list[float]:
        """Mean logarithm at each evaluation."""
        return [statistics.fmean(values.values()) for _, values in self.evaluations if values]

    def smoothed(self, first_step: int) -> list[tuple[int, dict[str, float]]]:
        """Medians by utterance of each three evaluations in a row from a step on, at the step of the last one."""
        known = [evaluation for evaluation in self.evaluations if evaluation[0] >= first_step]
        return [
            (known[end - 1][0], _medians([values for _, values in known[end - SMOOTHED : end]]))
            for end in range(SMOOTHED, len(known) + 1)
        ]

    def state_dict(self) -> list[list[Any]]:
        return [[step, dict(values)] for step, values in self.evaluations]

    def load_state_dict(self, state: list[list[Any]]) -> None:
        self.evaluations = [(step, dict(values)) for step, values in state]


def _medians(evaluations: list[dict[str, float]]) -> dict[str, float]:
    """Of the utterances that all evaluations have."""
    shared = set.intersection(*(set(values) for values in evaluations))
    return {id_: statistics.median(values[id_] for values in evaluations) for id_ in sorted(shared)}
