"""Summary of a search: the data of its report and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TrialEnding = Literal["complete", "ended early", "no candidate", "failed"]


@dataclass(frozen=True)
class TrialSummary:
    number: int
    ending: TrialEnding
    score: float | None  # of a trial that was ended early, the last one reported
    params: Mapping[str, Any]
    seconds: float
    folder: Path  # the run's folder


@dataclass(frozen=True)
class SettingImportance:
    """Share of the differences in rank that a setting explains alone, and its best and worst values by median score."""

    name: str
    share: float
    is_significant: bool
    best_values: str = ""
    best_median: float = 0.0
    worst_values: str = ""
    worst_median: float = 0.0


@dataclass(frozen=True)
class StudySummary:
    """Trials in the order of their numbers; trial 0 is the unchanged recipe."""

    name: str
    trials: Sequence[TrialSummary]
    best: TrialSummary
    importances: Sequence[SettingImportance]
    conclusions: Sequence[str]
    train_command: str

    @property
    def unchanged_recipe(self) -> TrialSummary | None:
        return next((trial for trial in self.trials if trial.number == 0), None)
