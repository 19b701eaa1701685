"""A study with quick trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna import Study

from hparams import HParams
from smart_tuner.search.budget import TrialBudget
from smart_tuner.search.dimensions import Dimension
from smart_tuner.search.storage import StudyStorage, open_storage
from smart_tuner.search.study import StudyPlan, open_study
from smart_tuner.search.trials import requeue

RATE = Dimension("learning_rate", "float", 1e-5, 1e-3, log=True)
BATCH = Dimension("batch_size", "int", 8, 64)
SIGMA = Dimension("guide_sigma", "choice", choices=(0.2, 0.4, 0.6))
BUDGET = TrialBudget(steps=60, full_steps=120, evaluations=6, first_pruned=3)


def make_plan(name: str = "small-study", *, prune: bool = True, **changes: Any) -> StudyPlan:
    parts: dict[str, Any] = {"recipe": HParams(), "space": (RATE, BATCH, SIGMA), "budget": BUDGET, "corpus": "c0ffee"}
    return StudyPlan(name=name, prune=prune, **(parts | changes))


def make_storage(folder: Path, url: str | None = None, *, workers: int = 1, heartbeat_seconds: int = 1) -> StudyStorage:
    folder.mkdir(parents=True, exist_ok=True)
    return open_storage(url, folder, workers=workers, heartbeat_seconds=heartbeat_seconds, on_stale=requeue)


def make_study(folder: Path, url: str | None = None, **changes: Any) -> tuple[Study, StudyStorage]:
    storage = make_storage(folder, url)
    return open_study(make_plan(**changes), storage), storage
