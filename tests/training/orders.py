"""Trainers whose observer gives them orders, and exact comparisons of their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hparams import HParams
from models.checkpoint_file import load_checkpoint
from reports import EvaluationReport, StepReport, TrainerOrder
from tests.support.tiny import RecordingObserver, tiny_hparams, tiny_trainer
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits, TrainingData
from training.trainer import EnhancedTrainer

ALL_SAVED: dict[str, Any] = {"iters_per_checkpoint": 1, "iters_per_evaluation": 1000, "keep_checkpoints": 99}


class OrderingObserver(RecordingObserver):
    """Observer that gives each of its orders once, after a certain step or evaluation."""

    def __init__(
        self,
        after_step: Mapping[int, Sequence[TrainerOrder]],
        *,
        after_evaluation: Mapping[int, Sequence[TrainerOrder]] | None = None,
        scores: dict[int, float | None] | None = None,
    ) -> None:
        super().__init__(scores)
        self.after_step, self.after_evaluation = dict(after_step), dict(after_evaluation or {})
        self.trainer: EnhancedTrainer | None = None

    def on_step(self, report: StepReport) -> None:
        super().on_step(report)
        self.give(self.after_step.pop(report.step, ()))

    def on_evaluation(self, report: EvaluationReport) -> float | None:
        score = super().on_evaluation(report)
        self.give(self.after_evaluation.pop(report.step, ()))
        return score

    def give(self, orders: Sequence[TrainerOrder]) -> None:
        assert self.trainer is not None
        for order in orders:
            self.trainer.control.execute(order)

    @property
    def ids(self) -> list[tuple[str, ...]]:
        """Ids of the utterances of each step."""
        return [report.utterance_ids for report in self.steps]


def trainer_with_orders(
    folder: Path,
    orders: Mapping[int, Sequence[TrainerOrder]] | None = None,
    *,
    hparams: HParams | None = None,
    observer: OrderingObserver | None = None,
    data: TrainingData | None = None,
) -> tuple[EnhancedTrainer, OrderingObserver]:
    """A trainer with the same initial weights in every call, and its observer, which gives `orders` after steps."""
    folder.mkdir(exist_ok=True)
    observer = observer or OrderingObserver(orders or {})
    trainer, _ = tiny_trainer(folder, hparams or tiny_hparams(**ALL_SAVED), observer=observer, data=data)
    observer.trainer = trainer
    return trainer, observer


def train_with_orders(
    folder: Path,
    orders: Mapping[int, Sequence[TrainerOrder]] | None = None,
    *,
    max_steps: int,
    start: Path | None = None,
    **options: Any,
) -> tuple[EnhancedTrainer, OrderingObserver]:
    """Train such a trainer, from the checkpoint `start` on if there is one."""
    trainer, observer = trainer_with_orders(folder, orders, **options)
    if start is not None:
        resume(trainer, start)
    trainer.fit(RunLimits(max_steps=max_steps))
    return trainer, observer


def saved_steps(trainer: EnhancedTrainer) -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(trainer.state.folder / "checkpoints")]


def saved_path(trainer: EnhancedTrainer, step: int) -> Path:
    return next(c.path for c in list_checkpoints(trainer.state.folder / "checkpoints") if c.step == step)


def resume(trainer: EnhancedTrainer, path: Path) -> None:
    trainer.state.load_state_dict(load_checkpoint(path))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def comparable_state(trainer: EnhancedTrainer) -> dict[str, Any]:
    return remove_volatile(deepcopy(trainer.state.state_dict()))


def remove_volatile(state: dict[str, Any]) -> dict[str, Any]:
    """Remove what differs between equal trainings (time, the observer's state) and the rate that each step sets."""
    state.pop("schema_version", None)
    del state["watcher"], state["progress"]["seconds"], state["optimizer"]["param_groups"][0]["lr"]
    return state


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Paths at which two states are not equal bit for bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return [] if torch.equal(a, b) else [where]
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        return [path for key in a for path in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [path for i, (x, y) in enumerate(zip(a, b, strict=True)) for path in differences(x, y, f"{where}/{i}")]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]
