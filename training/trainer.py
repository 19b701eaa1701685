"""EnhancedTrainer: the only writer of weights, optimizer and knobs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from corpus.batches import Batch, BatchLoader
from hparams import HParams
from models.interface import Losses, LossKnobs
from models.tacotron2 import Tacotron2
from training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from training.compatibility import foreign_step, optimizer_fits
from training.evaluation import Sentence, evaluate_utterances, measuring, speak
from training.knobs import Knobs
from training.precision import Precision
from training.reports import EvaluationReport, StepReport, Watcher
from training.schedule import planned_learning_rate
from training.voice import save_voice

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
    evaluated_step: int = -1
    best_step: int | None = None
    best_score: float | None = None


@dataclass
class Limits:
    """When to end early; `stop` is set from outside (a signal, a person)."""

    max_steps: int | None = None
    deadline: float | None = None  # of time.monotonic()
    stop: str | None = field(default=None)


class EnhancedTrainer:
    """Trains one model on one corpus; tells its watcher what happened and judges nothing."""

    def __init__(
        self,
        model: Tacotron2,
        data: TrainingData,
        hparams: HParams,
        *,
        folder: Path,
        watcher: Watcher,
        device: torch.device,
    ) -> None:
        self.model, self.data, self.hparams = model.to(device), data, hparams
        self.folder, self.watcher, self.device = folder, watcher, device
        self.knobs, self.progress = Knobs.from_hparams(hparams), Progress()
        self.precision = Precision(hparams.precision, device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=hparams.learning_rate,
            betas=(0.9, hparams.adam_beta2),
            weight_decay=hparams.weight_decay,
            fused=True,
        )
        self._process = psutil.Process()
        self._unsaved = True

    def fit(self, limits: Limits) -> str:
        """Train until the epochs or a limit are reached; ends evaluated and saved. Returns why it ended."""
        reason = self._run_epochs(limits)
        if self.progress.evaluated_step != self.progress.step and limits.stop is None:
            self.evaluate()
        if self._unsaved:
            self.save()
        return reason

    def _run_epochs(self, limits: Limits) -> str:
        while self.progress.epoch < self.hparams.epochs:
            batches = self.data.train.epoch(self.progress.epoch, start=self.progress.batch)
            try:
                if reason := self._run_epoch(batches, limits):
                    return reason
            finally:
                batches.close()
            self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        return "epochs"

    def _run_epoch(self, batches: Iterator[Batch], limits: Limits) -> str | None:
        while True:
            if reason := self._limit_reached(limits):
                return reason
            started = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return None
            self.watcher.on_step(self.train_step(batch, started=started))
            if self.progress.step % self.hparams.iters_per_evaluation == 0:
                self.evaluate()
            if self.progress.step % self.hparams.iters_per_checkpoint == 0 and self._unsaved:
                self.save()

    def _limit_reached(self, limits: Limits) -> str | None:
        if limits.stop is not None:
            return limits.stop
        if limits.max_steps is not None and self.progress.step >= limits.max_steps:
            return "max_steps"
        if limits.deadline is not None and time.monotonic() >= limits.deadline:
            return "max_minutes"
        return None

    def train_step(self, batch: Batch, *, started: float | None = None) -> StepReport:
        """One batch forward, backward and, if all is finite, one update; `started` is when waiting for it began."""
        loaded = time.perf_counter()
        started = loaded if started is None else started
        self.progress.step += 1
        self.progress.batch += 1
        self._unsaved = True
        learning_rate = planned_learning_rate(self.progress.step, self.hparams) * self.knobs.learning_rate_multiplier
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        losses, norm, update_ratio = self._update(batch.to(self.device))
        values = {name: None if norm is None else float(value.detach()) for name, value in losses.parts.items()}
        self.progress.nonfinite_steps += norm is None
        seconds = time.perf_counter() - started
        self.progress.seconds += seconds
        return StepReport(
            step=self.progress.step,
            epoch=self.progress.epoch,
            utterance_ids=batch.ids,
            mel_loss=values["mel_loss"],
            gate_loss=values["gate_loss"],
            guide_loss=values["guide_loss"],
            total_loss=values["total_loss"],
            gradient_norm=norm,
            learning_rate=learning_rate,
            update_ratio=update_ratio,
            frames_per_second=int(batch.mel_lengths.sum()) / seconds,
            data_wait_share=(loaded - started) / seconds,
            memory_bytes=self._memory_bytes(),
            nonfinite_steps=self.progress.nonfinite_steps,
        )

    def _update(self, batch: Batch) -> tuple[Losses, float | None, float | None]:
        """Losses, gradient norm before clipping (None: not finite, nothing was changed), relative update."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        with self.precision.autocast():
            losses = self.model.losses(self.model(batch), batch, self._loss_knobs())
        norm = self._backward(losses)
        if norm is None:
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
            return losses, None, None
        return losses, norm, self._step_optimizer()

    def _backward(self, losses: Losses) -> float | None:
        if not math.isfinite(float(losses.total.detach())):
            return None
        self.precision.scale(losses.total).backward()
        self.precision.unscale(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.knobs.grad_clip_thresh))
        if not math.isfinite(norm):
            self.precision.skipped()
            return None
        return norm

    def _step_optimizer(self) -> float | None:
        measure = self.progress.step % UPDATE_RATIO_EVERY == 0
        parameters = list(self.model.parameters())
        before = [p.detach().clone() for p in parameters] if measure else []
        self.precision.step(self.optimizer)
        if not measure:
            return None
        change = torch.stack([(p.detach() - b).square().sum() for p, b in zip(parameters, before, strict=True)]).sum()
        size = torch.stack([b.square().sum() for b in before]).sum()
        return float((change / size).sqrt())

    def _loss_knobs(self) -> LossKnobs:
        return self.knobs.for_losses(self.progress.step, self.hparams)

    def _memory_bytes(self) -> int:
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return int(self._process.memory_info().rss)

    def validate(self) -> EvaluationReport:
        """Held-out losses and decodes with the present weights; changes nothing."""
        with measuring(self.model, self.hparams.seed), self.precision.autocast():
            losses, decodes = evaluate_utterances(self.model, self.data.held_out, self.hparams, self._loss_knobs())
            sentences = speak(self.model, self.data.sentences, self.hparams.batch_size)
        return EvaluationReport(
            self.progress.step, self.progress.epoch, round(self.progress.seconds, 3), losses, decodes, sentences
        )

    def evaluate(self) -> None:
        """Validate, tell the watcher, and keep a checkpoint when the score is the best so far."""
        score = self.watcher.on_evaluation(self.validate())
        self.progress.evaluated_step = self.progress.step
        self._unsaved = True
        best = self.progress.best_score
        if score is not None and (best is None or score > best):
            self.progress.best_score, self.progress.best_step = score, self.progress.step
            self.save()
            self.write_voice()

    def write_voice(self) -> Path:
        """The best checkpoint (without one: the present weights) as one portable file."""
        path, best = self.folder / "voice.safetensors", self.best_checkpoint()
        weights = self.model.state_dict() if best is None else load_checkpoint(best)["model"]
        step = self.progress.step if best is None or self.progress.best_step is None else self.progress.best_step
        save_voice(path, weights, self.hparams, symbols=self.data.symbols, step=step)
        return path

    def save(self) -> Path:
        self.watcher.before_checkpoint()
        path = save_checkpoint(
            self.folder / "checkpoints",
            self.state_dict(),
            keep=self.hparams.keep_checkpoints,
            best_step=self.progress.best_step,
        )
        self._unsaved = False
        self.watcher.after_checkpoint(latest=path, best=self.best_checkpoint())
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
            "hparams": self.hparams.model_dump(mode="json"),
            "symbols": list(self.data.symbols),
            "data_fingerprint": self.data.fingerprint,
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "watcher": self.watcher.state_dict(),
        }

    def load_foreign(self, state: dict[str, Any]) -> None:
        """Go on from the NVIDIA checkpoint whose weights the model has: its step and, where it fits, the optimizer."""
        if optimizer_fits(self.model, state):
            self._load_optimizer(state["optimizer"])
        self.progress.step = foreign_step(state)

    def _take_over_settings(self, state: dict[str, Any]) -> None:
        """Knobs stay where they were turned, unless the recipe was changed: then it says where they start."""
        before, now = state["hparams"], self.hparams.model_dump()
        kept = {name: value for name, value in state["knobs"].items() if before.get(name) == now.get(name)}
        self.knobs = replace(self.knobs, **kept)

    def _load_optimizer(self, saved: dict[str, Any]) -> None:
        """Its moments; the settings stay those of the recipe."""
        (own,), (theirs,) = self.optimizer.state_dict()["param_groups"], saved["param_groups"]
        self.optimizer.load_state_dict({"state": saved["state"], "param_groups": [own | {"params": theirs["params"]}]})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken; with other data the current epoch starts anew."""
        self.model.load_state_dict(state["model"])
        self._load_optimizer(state["optimizer"])
        self.precision.load_state_dict(state["precision"])
        self.progress = Progress(**state["progress"])
        if self.best_checkpoint() is None:  # a run that branches off another has not that one's best
            self.progress.best_step = self.progress.best_score = None
        self._take_over_settings(state)
        if state["data_fingerprint"] != self.data.fingerprint:
            self.progress.batch = 0
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
        self.watcher.load_state_dict(state["watcher"])
        self._unsaved = False
