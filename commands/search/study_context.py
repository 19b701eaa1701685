"""Context of a study: everything that its trials share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from commands.options import TrainOptions
from commands.run.corpus import PreparedCorpus
from smart_tuner.search.storage import StudyStorage, open_storage
from smart_tuner.search.study import StudyPlan
from smart_tuner.search.trials import requeue
from smart_tuner.settings import Settings
from training.run_state import RunLimits


@dataclass(frozen=True, kw_only=True)
class StudyContext:
    options: TrainOptions
    settings: Settings
    plan: StudyPlan
    corpus: PreparedCorpus
    folder: Path  # of the study
    device: torch.device
    limits: RunLimits
    start: Path | None = None  # the checkpoint that all trials start from, as found
    start_copy: Path | None = None  # and where the study keeps its copy
    nonfinite_before: float = 0.0  # steps that were not finite before that checkpoint

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"trial-{number:05d}"

    def open_storage(self) -> StudyStorage:
        return open_storage(
            self.options.storage,
            self.folder,
            workers=self.options.workers,
            heartbeat_seconds=self.settings.search.heartbeat_seconds,
            on_stale=requeue,
        )
