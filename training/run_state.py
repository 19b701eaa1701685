"""State of a training run, shared by the trainer, its control and its rewind, and saved in checkpoints."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from corpus.batches import Batch, BatchLoader
from corpus.text.statistics import TextStatistics, read_statistics
from hparams import HParams, build_hparams
from models import TrainableModel
from models.checkpoint_file import foreign_step, load_checkpoint, optimizer_fits
from reports import CheckpointReport, TrainerOrder, TrainingObserver
from speech.decoding import Sentence
from speech.voice import save_voice
from training.checkpoints.best_score import RECENT_SCORES, is_as_good, steady_score
from training.checkpoints.checkpoint import list_checkpoints, save_checkpoint
from training.distributed.rank_group import RankGroup
from training.knobs import RECIPE_FIELDS, Knobs, bounds_of
from training.schedule import PhasePlan, PlanStretch, ScheduleClock
from training.step.learner import Learner

MAX_RECENT_BATCHES = 2_000
ARM_SEEDS_APART = 1_000_003
"""Far more than steps, so that an arm's seed is no other step's."""
ORDER_FIELDS = ("action", "knobs", "step", "skip_since", "n_steps", "arms", "seeds", "hparams")
"""Fields of an order that a checkpoint keeps until the order is executed."""


@dataclass(frozen=True)
class TrainingData:
    """Source of all batches; `fingerprint` tells whether the data order of a checkpoint still applies."""

    train: BatchLoader
    held_out: BatchLoader
    sentences: Sequence[Sentence]
    symbols: tuple[str, ...]
    fingerprint: str
    text_statistics: TextStatistics | None = None  # of the training texts; kept with the voice
    plain_sentences: Sequence[Sentence] = ()  # texts as people type them

    def with_rest(self, seconds: float | None) -> TrainingData:
        """The same data; the voice learns how long attention rests at the end of a text."""
        if self.text_statistics is None:
            return self
        return replace(self, text_statistics=replace(self.text_statistics, rest_seconds=seconds))


@dataclass
class TrainingProgress:
    """Counters of a run; `batch` counts within the epoch."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    nonfinite_steps: int = 0
    out_of_memory_steps: int = 0
    evaluated_step: int = -1
    best_step: int | None = None
    best_score: float | None = None
    recent_scores: list[float] = field(default_factory=list)  # of the latest evaluations


@dataclass
class SharedStop:
    """Request from outside (a signal, a person) to save and stop; shared by all trainings of a process."""

    reason: str | None = None


StepLimit = Literal["max_steps", "max_minutes"]


@dataclass(frozen=True)
class RunLimits:
    """Limits at which training ends early."""

    max_steps: int | None = None
    step_limit: StepLimit = "max_steps"  # from which `max_steps` follows
    deadline: float | None = None  # of time.monotonic()
    shared_stop: SharedStop = field(default_factory=SharedStop)

    @property
    def stop(self) -> str | None:
        """The reason of a request to stop."""
        return self.shared_stop.reason

    def request_stop(self, reason: str) -> None:
        self.shared_stop.reason = reason

    @property
    def seconds_left(self) -> float:
        return math.inf if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @staticmethod
    def time_after(seconds: float) -> float:
        """A deadline that lies so far ahead."""
        return time.monotonic() + seconds

    def shortened(self, seconds: float) -> RunLimits:
        """The same limits with so much less time."""
        return self if self.deadline is None else replace(self, deadline=self.deadline - seconds)

    @property
    def interruption(self) -> str | None:
        """The reason to end before the next step, also in the middle of a race; None to go on."""
        if self.stop is None and self.seconds_left == 0:
            return "max_minutes"
        return self.stop


class RunState:
    """Model, optimizer, schedules, knobs, counters and place in the data of one run."""

    def __init__(
        self,
        model: TrainableModel,
        data: TrainingData,
        hparams: HParams,
        *,
        folder: Path,
        observer: TrainingObserver,
        device: torch.device,
        rank_group: RankGroup | None = None,
    ) -> None:
        self.rank_group = rank_group or RankGroup.single()
        self.learner, self.data, self.hparams = Learner(model, hparams, device, self.rank_group), data, hparams
        self.data.train.n_ranks, self.data.train.pins_memory = self.rank_group.size, device.type == "cuda"
        self.folder, self.observer, self.device = folder, observer, device
        self.knobs, self.progress, self.limits = Knobs.from_hparams(hparams), TrainingProgress(), RunLimits()
        self.clock, self.phase_plan = ScheduleClock(), PhasePlan()
        self.phase_plan_before_move = self.phase_plan  # when the newest rollback or restart was ordered
        self.stretch = PlanStretch()  # of the run's plan: the same after a rollback
        self.keep_checkpoints = hparams.keep_checkpoints
        self.pending_orders: list[TrainerOrder] = []  # those that move training, until they are executed
        self.arm_seed = 0  # in a race: distinguishes arms whose settings are equal
        # step that used it, epoch, number in the epoch
        self.recent_batches: deque[tuple[int, int, int]] = deque(maxlen=MAX_RECENT_BATCHES)
        self.memory_error: RuntimeError | None = None  # of the last step, until it is answered
        self.failed_micro_batches = 1.0  # at the time of that error
        self.is_unsaved = True  # whether there is something that no checkpoint holds

    @property
    def model(self) -> TrainableModel:
        return self.learner.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.learner.optimizer

    @property
    def schedule_step(self) -> float:
        """The present step as a step of the schedules."""
        return self.clock.schedule_step(self.progress.step, self.stretch)

    def remember_batches(self, batches: Sequence[Batch]) -> None:
        """Note the batches of this step, which may have to be read again or skipped."""
        self.recent_batches += [(self.progress.step, self.progress.epoch, batch.number) for batch in batches]

    def turn_knobs(self, positions: Mapping[str, float]) -> None:
        """Set knobs; a position outside the bounds is an error."""
        for name, value in positions.items():
            bounds = bounds_of(name, self.hparams)
            if not bounds.low <= value <= bounds.high:
                raise ValueError(f"{name}: expected {bounds.low:g} to {bounds.high:g}, got {value:g}")
        for name, value in positions.items():
            setattr(self.knobs, name, float(value))
        self.model.set_gate_threshold(self.knobs.gate_threshold)

    def best_checkpoint(self) -> Path | None:
        """The checkpoint on disk with the highest score."""
        saved = list_checkpoints(self.folder / "checkpoints")
        return next((c.path for c in reversed(saved) if c.step == self.progress.best_step), None)

    def keep_if_best(self, score: float | None) -> bool:
        """Save a checkpoint and the voice if no earlier evaluation had a clearly better score."""
        progress, best = self.progress, self.progress.best_score
        if score is None:
            return False
        progress.recent_scores = scores = [*progress.recent_scores, score][-RECENT_SCORES:]
        if best is not None and not is_as_good(scores, best):
            return False
        steady = steady_score(scores)
        progress.best_score, progress.best_step = steady if best is None else max(steady, best), progress.step
        self.save()
        self.write_voice()
        return True

    def write_voice(self) -> Path:
        """Write the best checkpoint (without one: the present weights) as one portable file."""
        path, best = self.folder / "voice.safetensors", self.best_checkpoint()
        state = self.state_dict() if best is None else load_checkpoint(best)
        step, threshold = int(state["progress"]["step"]), float(state["knobs"]["gate_threshold"])
        hparams = build_hparams(state["hparams"], {"gate_threshold": threshold})
        statistics = self.data.text_statistics
        save_voice(path, state["model"], hparams, symbols=self.data.symbols, step=step, text_statistics=statistics)
        return path

    @property
    def random_seed(self) -> int:
        """Seed of a part of the training that begins at the present step; ranks and arms of a race have their own."""
        return self.hparams.seed + self.progress.step + ARM_SEEDS_APART * self.arm_seed

    def save(self) -> Path:
        """Write a checkpoint and report it."""
        self.observer.on_save_start()
        folder = self.folder / "checkpoints"
        best = self.progress.best_step
        path = save_checkpoint(folder, self.state_dict(), keep=self.keep_checkpoints, best_step=best)
        self.is_unsaved = False
        self.report_checkpoint(path)
        return path

    def report_checkpoint(self, path: Path) -> None:
        """Report the checkpoint that was written last, and which ones there are."""
        kept = [saved.step for saved in list_checkpoints(path.parent)]
        self.observer.on_checkpoint(CheckpointReport(self.progress.step, path, self.best_checkpoint(), kept))

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, as tensors and plain values, under the keys of earlier checkpoints."""
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        orders = [_plain_order(order) for order in self.pending_orders]
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.learner.precision.state_dict(),
            "progress": asdict(self.progress),
            "knobs": asdict(self.knobs),
            "clock": asdict(self.clock),
            "left_out": sorted(self.data.train.skipped_batches),
            "steering": {"moves": orders, "places": [list(batch) for batch in self.recent_batches]},
            "resources": {"keep_checkpoints": self.keep_checkpoints, "loader_threads": self.data.train.n_threads},
            "hparams": self.hparams.model_dump(mode="json"),
            "symbols": list(self.data.symbols),
            "text_statistics": None if self.data.text_statistics is None else asdict(self.data.text_statistics),
            "data_fingerprint": self.data.fingerprint,
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "watcher": self.observer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken; with other data the current epoch starts anew."""
        self.rewind_to(state)
        self.restore_knobs(state)
        self._restore_resources(state)
        moves = map(_load_order, state["steering"]["moves"])
        self.pending_orders = [order for order in moves if order is not None]
        if (statistics := read_statistics(state.get("text_statistics"))) is not None:
            self.data = self.data.with_rest(statistics.rest_seconds)
        if state["data_fingerprint"] != self.data.fingerprint:
            self.progress.batch = 0
            self.data.train.skipped_batches.clear()
            self.recent_batches.clear()
        self.is_unsaved = False
        self.observer.load_state_dict(state["watcher"])

    def rewind_to(self, state: dict[str, Any]) -> None:
        """Restore weights, optimizer, schedules, random numbers and data order; not knobs, orders and observer."""
        self.model.load_state_dict(state["model"])
        self.load_optimizer(state["optimizer"])
        self.learner.precision.load_state_dict(state["precision"])
        self.progress = TrainingProgress(**state["progress"])
        if self.best_checkpoint() is None:  # a run that branches off does not hold the other run's best
            self.progress.best_step = self.progress.best_score = None
        self.clock = ScheduleClock(**state["clock"])
        self.data.train.skipped_batches |= {(epoch, number) for epoch, number in state["left_out"]}
        self.recent_batches.clear()
        self.recent_batches += [(step, epoch, batch) for step, epoch, batch in state["steering"]["places"]]
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"]["cuda"])

    def restore_knobs(self, state: dict[str, Any]) -> None:
        """Put each knob where it stood, unless the setting it starts from has changed since."""
        before, now = state["hparams"], self.hparams.model_dump()
        unchanged = {
            name: value
            for name, value in state["knobs"].items()
            if before.get(RECIPE_FIELDS.get(name, name)) == now.get(RECIPE_FIELDS.get(name, name))
        }
        self.knobs = replace(self.knobs, **unchanged)
        self.model.set_gate_threshold(self.knobs.gate_threshold)

    def _restore_resources(self, state: dict[str, Any]) -> None:
        """Keep what was ordered for a full disk or slow loading; earlier checkpoints do not hold it."""
        resources = state.get("resources")
        if resources is None:
            return
        self.data.train.n_threads = resources["loader_threads"]
        if state["hparams"]["keep_checkpoints"] == self.hparams.keep_checkpoints:
            self.keep_checkpoints = resources["keep_checkpoints"]

    def load_optimizer(self, saved: dict[str, Any]) -> None:
        """Load the moments; the settings stay those of the recipe."""
        self.learner.is_synchronized = False
        (own,), (theirs,) = self.optimizer.state_dict()["param_groups"], saved["param_groups"]
        self.optimizer.load_state_dict({"state": saved["state"], "param_groups": [own | {"params": theirs["params"]}]})

    def load_foreign(self, state: dict[str, Any]) -> None:
        """Go on from another program's checkpoint whose weights the model has: its step and, if it fits, optimizer."""
        if optimizer_fits(self.model, state):
            self.load_optimizer(state["optimizer"])
        self.progress.step = foreign_step(state)


def _load_order(saved: dict[str, Any]) -> TrainerOrder | None:
    """None of a race of an earlier version, which had too few untreated arms to be judged."""
    if saved["action"] == "race" and "seeds" not in saved:
        return None
    return TrainerOrder(**{name: saved[name] for name in ORDER_FIELDS if name in saved})


def _plain_order(order: TrainerOrder) -> dict[str, Any]:
    arms = [dict(arm) for arm in order.arms]
    fields = {name: getattr(order, name) for name in ORDER_FIELDS}
    plain = {"knobs": dict(order.knobs), "hparams": dict(order.hparams), "arms": arms, "seeds": list(order.seeds)}
    return fields | plain
