"""A search as people are shown it: what was tried, what came of it, what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Ending = Literal["complete", "ended early", "no candidate", "failed"]


@dataclass(frozen=True)
class TrialStory:
    number: int
    ending: Ending
    score: float | None  # the last one, of a trial that was ended early
    params: Mapping[str, Any]
    seconds: float
    folder: Path  # of its run


@dataclass(frozen=True)
class ImportanceStory:
    """Of the differences between trials a setting explains this share by itself."""

    name: str
    share: float
    is_sure: bool


@dataclass(frozen=True)
class StudyStory:
    """`trials` in the order of their numbers; the first one is the recipe as it was."""

    name: str
    trials: Sequence[TrialStory]
    best: TrialStory
    importances: Sequence[ImportanceStory]
    conclusions: Sequence[str]
    train_command: str
