"""EnhancedTrainer: the only writer of weights, optimizer and knobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import torch

from corpus.batches import Batch, BatchLoader
from hparams import HParams, build_hparams
from models import TrainableModel
from models.checkpoint_file import foreign_step, load_checkpoint, optimizer_fits
from models.interface import LossKnobs
from reports import EvaluationReport, StepReport, Watcher
from speech.voice import save_voice
from training.checkpoints.checkpoint import list_checkpoints, save_checkpoint
from training.control import Steering
from training.distributed.rank_group import RankGroup, StepTask
from training.evaluation import Sentence, evaluate_utterances, evaluation_mode, speak
from training.knobs import RECIPE_FIELDS, Knobs
from training.schedule import PhasePlan, ScheduleClock, planned_learning_rate
from training.step.learner import Learner, UpdateResult
from training.step.micro_batches import is_out_of_memory, split_batch
from training.step.precision import Precision

UPDATE_RATIO_EVERY = 10  # steps; measuring it needs a copy of all weights


@dataclass(frozen=True)
class TrainingData:
    """Where batches come from; `fingerprint` tells whether the data order of a checkpoint still applies."""

    train: BatchLoader
    held_out: BatchLoader
    sentences: Sequence[Sentence]
    symbols: tuple[str, ...]
    fingerprint: str


@dataclass
class Progress:
    """How far training has come; `batch` counts within the epoch."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    nonfinite_steps: int = 0
    out_of_memory_steps: int = 0
    evaluated_step: int = -1
    best_step: int | None = None
    best_score: float | None = None


@dataclass
class Limits:
    """When to end early; `stop` is set from outside (a signal, a person)."""

    max_steps: int | None = None
    deadline: float | None = None  # of time.monotonic()
    stop: str | None = field(default=None)

    @property
    def interruption(self) -> str | None:
        """Why to end at once, whatever is going on."""
        if self.stop is None and self.deadline is not None and time.monotonic() >= self.deadline:
            return "max_minutes"
        return self.stop


class EnhancedTrainer:
    """Trains one model on one corpus; tells its watcher what happened and judges nothing."""

    def __init__(
        self,
        model: TrainableModel,
        data: TrainingData,
        hparams: HParams,
        *,
        folder: Path,
        watcher: Watcher,
        device: torch.device,
        rank_group: RankGroup | None = None,
    ) -> None:
        self.rank_group = rank_group or RankGroup.single()
        self.learner, self.data, self.hparams = Learner(model, hparams, device, self.rank_group), data, hparams
        self.data.train.n_ranks = self.rank_group.size
        self.folder, self.watcher, self.device = folder, watcher, device
        self.knobs, self.progress = Knobs.from_hparams(hparams), Progress()
        self.clock, self.plan, self.limits = ScheduleClock(), PhasePlan(), Limits()
        self.keep_checkpoints = hparams.keep_checkpoints
        self.steering = Steering(self)
        self.between_steps: Callable[[], None] = lambda: None
        """Called before each step, when whoever wants to say something to the training may do so."""
        self.after_evaluation: Callable[[float | None], None] = lambda score: None
        """Called with its score, once it is written down and the best is kept."""
        self._process = psutil.Process()
        self._unsaved = True

    @property
    def model(self) -> TrainableModel:
        return self.learner.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.learner.optimizer

    @property
    def precision(self) -> Precision:
        return self.learner.precision

    def fit(self, limits: Limits) -> str:
        """Train until the epochs or a limit are reached; ends evaluated and saved. Returns why it ended."""
        self.limits = limits
        reason = self._run_epochs()
        self.steering.return_to_best()
        if self.progress.evaluated_step != self.progress.step and limits.stop is None:
            self.evaluate()
        if self._unsaved:
            self.save()
        return reason

    def _run_epochs(self) -> str:
        while self.progress.epoch < self.hparams.epochs:
            batches = self.data.train.epoch(self.progress.epoch, start=self.progress.batch)
            try:
                reason = self._run_epoch(batches)
            finally:
                batches.close()
            if reason is not None:
                return reason
            if self.steering.wants_attention:
                self.steering.attend()
            else:
                self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        return "epochs"

    def _run_epoch(self, batches: Iterator[Batch]) -> str | None:
        """Until the epoch, a limit or an order that changes where the data goes on."""
        while not self.steering.wants_attention:
            self.between_steps()
            if reason := self._limit_reached():
                return reason
            started = time.perf_counter()
            batch = self.next_batches(batches)
            if not batch:
                return None
            self.watcher.on_step(self.train_step(*batch, started=started))
            self.steering.require_answer_to_out_of_memory()
            self._evaluate_and_save_when_due()
        return self.limits.interruption if self.steering.end is None else self.steering.end

    def next_batches(self, batches: Iterator[Batch]) -> tuple[Batch, ...]:
        """Those of one step; none at the end of the epoch."""
        return tuple(islice(batches, int(self.knobs.batches_per_update)))

    def _evaluate_and_save_when_due(self) -> None:
        step = self.progress.step
        if step % self.hparams.iters_per_evaluation == 0 and not self.steering.leaves:
            self.evaluate()
        if step % self.hparams.iters_per_checkpoint == 0 and self._unsaved and not self.steering.leaves:
            self.save()

    def _limit_reached(self) -> str | None:
        limits = self.limits
        if limits.stop is None and limits.max_steps is not None and self.progress.step >= limits.max_steps:
            return "max_steps"
        return limits.interruption

    def train_step(self, *batches: Batch, started: float | None = None) -> StepReport:
        """Forward, backward and, if all is finite, one update; `started` is when waiting for the data began."""
        loaded = time.perf_counter()
        started = loaded if started is None else started
        self.progress.step += 1
        self.progress.batch = batches[-1].number + 1
        self._unsaved = True
        learning_rate = self._turn_clock()
        self.steering.remember_place(batches)
        updated = self._update(batches)
        seconds = time.perf_counter() - started
        self.progress.seconds += seconds
        return self._report(batches, updated, learning_rate, seconds=seconds, waited=loaded - started)

    def _turn_clock(self) -> float:
        """Sets and returns this step's learning rate."""
        step = self.progress.step
        if self.plan.hold_schedules:
            self.clock.hold(step, self.hparams)
        rate = planned_learning_rate(self.clock.schedule_step(step), self.hparams) * self.clock.warmup_factor(step)
        rate *= self.knobs.learning_rate_multiplier * self.plan.learning_rate_share
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _update(self, batches: Sequence[Batch]) -> UpdateResult | None:
        """None: it did not fit into memory, and nothing was changed."""
        chunks = [chunk for batch in batches for chunk in split_batch(batch, int(self.knobs.micro_batches))]
        clip = self.knobs.grad_clip_thresh * self.plan.grad_clip_share
        measure = self.progress.step % UPDATE_RATIO_EVERY == 0
        try:
            total_frames = self._call_others(batches, clip)
            updated = self.learner.update(
                chunks, self._loss_knobs(), clip_norm=clip, measure=measure, total_frames=total_frames
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.progress.out_of_memory_steps += 1
            self.steering.out_of_memory(error)
            return None
        self.progress.nonfinite_steps += updated.gradient_norm is None
        self.limits.stop = self.limits.stop or updated.stop_signal
        return updated

    def _call_others(self, batches: Sequence[Batch], clip: float) -> int | None:
        """Tells the other ranks what they are to do in this step; returns the frames that all learn from."""
        if self.rank_group.size == 1:
            return None
        if not self.learner.is_synchronized:
            self.learner.initialize_lazily(batches[0])
            self.rank_group.broadcast(
                self.learner.shared_state(self.hparams, seed=self.hparams.seed + self.progress.step)
            )
        rows = tuple(tuple(batch.rank_indices[rank] for batch in batches) for rank in range(self.rank_group.size))
        total_frames = self._frames(batches)
        rate = float(self.optimizer.param_groups[0]["lr"])
        task = StepTask(
            rows,
            self.progress.epoch,
            batches[-1].number,
            total_frames,
            int(self.knobs.micro_batches),
            self._loss_knobs(),
            clip,
            rate,
        )
        self.rank_group.broadcast(task)
        return total_frames

    def _frames(self, batches: Sequence[Batch]) -> int:
        """Of all ranks."""
        if self.rank_group.size == 1:
            return sum(int(batch.mel_lengths.sum()) for batch in batches)
        return sum(self.data.train.n_frames(rows) for batch in batches for rows in batch.rank_indices)

    def _report(
        self,
        batches: Sequence[Batch],
        updated: UpdateResult | None,
        learning_rate: float,
        *,
        seconds: float,
        waited: float,
    ) -> StepReport:
        is_finite = updated is not None and updated.gradient_norm is not None
        losses = updated.losses if updated is not None and is_finite else {}
        measures = updated.measures if updated is not None else {}
        return StepReport(
            step=self.progress.step,
            epoch=self.progress.epoch,
            utterance_ids=updated.utterance_ids if updated else tuple(id_ for batch in batches for id_ in batch.ids),
            utterance_losses=updated.utterance_losses if updated else (),
            total_loss=losses.get("total_loss"),
            loss_parts={name: losses.get(name) for name in self.model.LOSS_PARTS},
            measures={name: measures.get(name) for name in (*self.model.MEASURES, *self.model.gradient_parts())},
            gradient_norm=updated.gradient_norm if updated else None,
            learning_rate=learning_rate,
            update_ratio=updated.update_ratio if updated else None,
            frames_per_second=self._frames(batches) / seconds,
            data_wait_share=waited / seconds,
            memory_bytes=self._memory_bytes(),
            nonfinite_steps=self.progress.nonfinite_steps,
            out_of_memory_steps=self.progress.out_of_memory_steps,
        )

    def _loss_knobs(self) -> LossKnobs:
        return self.knobs.for_losses(self.clock.schedule_step(self.progress.step), self.hparams, self.plan)

    def _memory_bytes(self) -> int:
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return int(self._process.memory_info().rss)

    def validate(self) -> EvaluationReport:
        """Held-out losses and decodes with the present weights; changes nothing."""
        with evaluation_mode(self.model, self.hparams.seed), self.precision.autocast():
            hparams = self.hparams.model_copy(update={"gate_threshold": self.knobs.gate_threshold})
            losses, decodes = evaluate_utterances(self.model, self.data.held_out, hparams, self._loss_knobs())
            sentences = speak(self.model, self.data.sentences, self.hparams.batch_size)
        return EvaluationReport(
            self.progress.step, self.progress.epoch, round(self.progress.seconds, 3), losses, decodes, sentences
        )

    def evaluate(self) -> None:
        """Validate, tell the watcher, and keep a checkpoint when the score is the best so far."""
        self.watcher.before_evaluation()
        score = self.watcher.on_evaluation(self.validate())
        self.progress.evaluated_step = self.progress.step
        self._unsaved = True
        best = self.progress.best_score
        if score is not None and (best is None or score > best):
            self.progress.best_score, self.progress.best_step = score, self.progress.step
            self.save()
            self.write_voice()
        self.after_evaluation(score)

    def write_voice(self) -> Path:
        """The best checkpoint (without one: the present weights) as one portable file."""
        path, best = self.folder / "voice.safetensors", self.best_checkpoint()
        state = self.state_dict() if best is None else load_checkpoint(best)
        step, threshold = int(state["progress"]["step"]), float(state["knobs"]["gate_threshold"])
        hparams = build_hparams(state["hparams"], {"gate_threshold": threshold})
        save_voice(path, state["model"], hparams, symbols=self.data.symbols, step=step)
        return path

    def has_changed(self) -> None:
        """Something that checkpoints keep was changed from outside; the end of training is to save it."""
        self._unsaved = True

    @property
    def is_unsaved(self) -> bool:
        """Whether there is something that no checkpoint holds."""
        return self._unsaved

    def save(self) -> Path:
        self.watcher.before_checkpoint()
        path = save_checkpoint(
            self.folder / "checkpoints",
            self.state_dict(),
            keep=self.keep_checkpoints,
            best_step=self.progress.best_step,
        )
        self._unsaved = False
        kept = [saved.step for saved in list_checkpoints(self.folder / "checkpoints")]
        self.watcher.after_checkpoint(latest=path, best=self.best_checkpoint(), kept=kept)
        return path

    def best_checkpoint(self) -> Path | None:
        """The kept checkpoint with the highest score."""
        saved = list_checkpoints(self.folder / "checkpoints")
        return next((c.path for c in reversed(saved) if c.step == self.progress.best_step), None)

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact resume needs, as tensors and plain values."""
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            "progress": asdict(self.progress),
            "knobs": asdict(self.knobs),
            "clock": asdict(self.clock),
            "left_out": sorted(self.data.train.skipped_batches),
            "steering": self.steering.state_dict(),
            "hparams": self.hparams.model_dump(mode="json"),
            "symbols": list(self.data.symbols),
            "data_fingerprint": self.data.fingerprint,
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "watcher": self.watcher.state_dict(),
        }

    def load_foreign(self, state: dict[str, Any]) -> None:
        """Go on from the foreign checkpoint whose weights the model has: its step and, where it fits, the optimizer."""
        if optimizer_fits(self.model, state):
            self._load_optimizer(state["optimizer"])
        self.progress.step = foreign_step(state)

    def take_over_knobs(self, state: dict[str, Any]) -> None:
        """They stay where they were turned, unless the recipe was changed: then it says where they start."""
        before, now = state["hparams"], self.hparams.model_dump()
        kept = {
            name: value
            for name, value in state["knobs"].items()
            if before.get(RECIPE_FIELDS.get(name, name)) == now.get(RECIPE_FIELDS.get(name, name))
        }
        self.knobs = replace(self.knobs, **kept)
        self.model.set_gate_threshold(self.knobs.gate_threshold)

    def _load_optimizer(self, saved: dict[str, Any]) -> None:
        """Its moments; the settings stay those of the recipe."""
        self.learner.is_synchronized = False
        (own,), (theirs,) = self.optimizer.state_dict()["param_groups"], saved["param_groups"]
        self.optimizer.load_state_dict({"state": saved["state"], "param_groups": [own | {"params": theirs["params"]}]})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken; with other data the current epoch starts anew."""
        self.go_back(state)
        self.take_over_knobs(state)
        self.steering.recall_moves(state["steering"])
        if state["data_fingerprint"] != self.data.fingerprint:
            self.progress.batch = 0
            self.data.train.skipped_batches.clear()
            self.steering.forget_places()
        self._unsaved = False
        self.watcher.load_state_dict(state["watcher"])

    def go_back(self, state: dict[str, Any]) -> None:
        """All of a state but what others remember of it: weights, optimizer, schedules, random numbers, data order."""
        self.model.load_state_dict(state["model"])
        self._load_optimizer(state["optimizer"])
        self.precision.load_state_dict(state["precision"])
        self.progress = Progress(**state["progress"])
        if self.best_checkpoint() is None:  # a run that branches off another has not that one's best
            self.progress.best_step = self.progress.best_score = None
        self.clock = ScheduleClock(**state["clock"])
        self.data.train.skipped_batches |= {(epoch, number) for epoch, number in state["left_out"]}
        self.steering.recall_places(state["steering"])
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
