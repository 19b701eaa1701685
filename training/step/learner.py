"""One update of the weights from one or several chunks of data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from corpus.batches import Batch
from hparams import HParams
from models import TrainableModel
from models.interface import Losses, LossKnobs
from training.distributed.leader import Crew, NewState, gradients_of
from training.step.adam import Adam
from training.step.precision import Precision
from training.step.rectified_adam import RectifiedAdam


@dataclass(frozen=True)
class Updated:
    """What an update computed; without a gradient norm something was not finite and nothing was changed."""

    losses: dict[str, float]
    ids: tuple[str, ...]
    utterance_losses: tuple[float, ...]
    gradient_norm: float | None
    update_ratio: float | None
    measures: dict[str, float]  # of weights and gradients, when they were asked for
    asked_to_stop: str | None = None  # another process of the crew


def build_optimizer(model: nn.Module, hparams: HParams) -> torch.optim.Optimizer:
    betas, decay = (0.9, hparams.adam_beta2), hparams.weight_decay
    if hparams.optimizer == "radam":
        return RectifiedAdam(model.parameters(), lr=hparams.learning_rate, betas=betas, weight_decay=decay)
    return Adam(model.parameters(), hparams.learning_rate, betas, weight_decay=decay, fused=True)


@dataclass(frozen=True)
class Passed:
    """What a rank's share of an update came to, each loss weighing as much as it has frames; or what went wrong."""

    parts: dict[str, float]
    total: float
    ids: tuple[str, ...]
    by_utterance: tuple[float, ...]
    out_of_memory: str | None = None
    asked_to_stop: str | None = None

    @classmethod
    def failed(cls, reason: str) -> Passed:
        return cls({}, math.nan, (), (), out_of_memory=reason)


class Learner:
    """A model with its optimizer; one of a crew, which all have the same."""

    def __init__(self, model: TrainableModel, hparams: HParams, device: torch.device, crew: Crew | None = None) -> None:
        self.model, self.device, self.crew = model.to(device), device, crew or Crew.alone()
        self.precision = Precision(hparams.precision, device)
        self.optimizer = build_optimizer(self.model, hparams)
        self.asked_to_stop: str | None = None
        self.is_known_to_crew = False
        """Whether the others have the same weights and moments."""

    def state(self, hparams: HParams, *, seed: int) -> NewState:
        """All that the others need to go on from here as this one does."""
        self.is_known_to_crew = True
        weights, moments = on_cpu(self.model.state_dict()), on_cpu(self.optimizer.state_dict())
        return NewState(hparams.model_dump(mode="json"), weights, moments, self.precision.state_dict(), seed)

    @torch.no_grad()
    def wake(self, batch: Batch) -> None:
        """A pass before the others take over these weights: some take their first values from what they first see."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.precision.autocast():
            self.model.train()
            self.model(batch.to(self.device))

    def take_over(self, state: NewState) -> None:
        self.model.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.precision.load_state_dict(state.precision)
        torch.manual_seed(state.seed * self.crew.size + self.crew.rank)

    def update(
        self, chunks: Sequence[Batch], knobs: LossKnobs, *, clip: float, measure: bool, total_frames: int | None = None
    ) -> Updated:
        """Forward and backward over all chunks, each weighing as much as it has of all ranks' frames; then one step,
        if everything is finite.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        snapshot = self.model.snapshot()
        frames = sum(int(chunk.mel_lengths.sum()) for chunk in chunks)
        try:
            passed, failure = self._pass(chunks, knobs, total_frames or frames)
        except RuntimeError:
            self.model.restore(snapshot)  # the batch norms have seen a part of the batch by now
            raise
        everyone = self.crew.gather(passed)
        if without_memory := [f"rank {n}: {p.out_of_memory}" for n, p in enumerate(everyone) if p.out_of_memory]:
            self.model.restore(snapshot)
            try:
                raise failure or torch.OutOfMemoryError("; ".join(without_memory))
            finally:
                del failure  # or its traceback would hold itself, with all that was computed
        self._take_together(frames / (total_frames or frames))
        norm = self._clipped_norm(clip) if all(math.isfinite(p.total) for p in everyone) else None
        return self._updated(everyone, norm, snapshot, clip=clip, measure=measure)

    def _pass(self, chunks: Sequence[Batch], knobs: LossKnobs, total_frames: int) -> tuple[Passed, RuntimeError | None]:
        """Also what went wrong, where it was too little memory."""
        shares = [int(chunk.mel_lengths.sum()) / total_frames for chunk in chunks]
        try:
            losses = [self._learn_from(chunk, knobs, share) for chunk, share in zip(chunks, shares, strict=True)]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return Passed.failed(str(error).splitlines()[0]), error
        names = losses[0].parts if losses else ()
        parts = {
            name: math.fsum(share * float(loss.parts[name]) for share, loss in zip(shares, losses, strict=True))
            for name in names
        }
        total = sum(share * float(loss.total) for share, loss in zip(shares, losses, strict=True))
        by_utterance = tuple(value for loss in losses for value in loss.by_utterance.tolist())
        ids = tuple(id_ for chunk in chunks for id_ in chunk.ids)
        return Passed(parts, total, ids, by_utterance, asked_to_stop=self.asked_to_stop), None

    @torch.no_grad()
    def _take_together(self, share: float) -> None:
        """Gradients are summed; what normalisation remembers is averaged."""
        if self.crew.size == 1:
            return
        self.crew.sum_up(gradients_of(self.model))
        remembered = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        for buffer in remembered:
            buffer.mul_(share)
        self.crew.sum_up(remembered)

    def _updated(
        self, everyone: Sequence[Passed], norm: float | None, snapshot: list[Tensor], *, clip: float, measure: bool
    ) -> Updated:
        """Steps, unless something was not finite: then everything is as before."""
        names = next((p.parts for p in everyone if p.parts), {})
        parts = {name: math.fsum(p.parts[name] for p in everyone if p.parts) for name in names}
        ids = tuple(id_ for p in everyone for id_ in p.ids)
        by_utterance = tuple(value for p in everyone for value in p.by_utterance)
        stop = next((p.asked_to_stop for p in everyone if p.asked_to_stop), None)
        if norm is None:
            self.model.restore(snapshot)
            return Updated(parts, ids, by_utterance, None, None, {}, stop)
        measures = self._measures(min(1.0, clip / (norm + 1e-6))) if measure else {}
        return Updated(parts, ids, by_utterance, norm, self._step(measure), measures, stop)

    def _measures(self, clipped_to: float) -> dict[str, float]:
        """With the gradients as they were before they were clipped."""
        parts = {
            name: [parameter.grad for parameter in parameters if parameter.grad is not None]
            for name, parameters in self.model.gradient_parts().items()
        }
        gradients = {name: part for name, part in parts.items() if part}
        if not gradients:
            return self.model.measures()
        norms = torch.stack([torch.nn.utils.get_total_norm(part) for part in gradients.values()]) / clipped_to
        return self.model.measures() | dict(zip(gradients, norms.tolist(), strict=True))

    def _learn_from(self, chunk: Batch, knobs: LossKnobs, share: float) -> Losses:
        """Adds the chunk's share to the gradient, unless its loss is not finite; the losses come back without graph."""
        with self.precision.autocast():
            losses = self.model.losses(self.model(chunk.to(self.device)), chunk.to(self.device), knobs)
        if math.isfinite(float(losses.total.detach())):
            self.precision.scale(share * losses.total if share != 1 else losses.total).backward()
        return losses.detached()

    def _clipped_norm(self, clip: float) -> float | None:
        self.precision.unscale(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip))
        if not math.isfinite(norm):
            self.precision.skipped()
            return None
        return norm

    def _step(self, measure: bool) -> float | None:
        """Change the weights; on demand, by how much beside their size."""
        parameters = list(self.model.parameters())
        before = [p.detach().clone() for p in parameters] if measure else []
        self.precision.step(self.optimizer)
        torch.autograd.graph.increment_version(parameters)  # a fused step does not, and what is cached would go stale
        return _change(parameters, before) if measure else None


def _change(parameters: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    change = torch.stack([(p.detach() - b).square().sum() for p, b in zip(parameters, before, strict=True)]).sum()
    size = torch.stack([b.square().sum() for b in before]).sum()
    return float((change / size).sqrt())


def on_cpu(state: Any) -> Any:
    """A state whose tensors are in main memory: another process has another GPU."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {name: on_cpu(value) for name, value in state.items()}
    return [on_cpu(value) for value in state] if isinstance(state, list) else state


def split_batch(batch: Batch, n_chunks: int) -> list[Batch]:
    """Nearly equal parts of a batch, each padded to its own longest utterance."""
    rows = torch.arange(len(batch.ids)).chunk(n_chunks)
    return [batch] if len(rows) == 1 else [_rows_of(batch, chunk.tolist()) for chunk in rows]


def _rows_of(batch: Batch, rows: list[int]) -> Batch:
    text_lengths, mel_lengths = batch.text_lengths[rows], batch.mel_lengths[rows]
    n_tokens, n_frames = int(text_lengths.max()), int(mel_lengths.max())
    ids = tuple(batch.ids[row] for row in rows)
    text, mels = batch.text[rows, :n_tokens], batch.mels[rows, :, :n_frames]
    speakers = None if batch.speakers is None else batch.speakers[rows]
    return Batch(ids, text, text_lengths, mels, mel_lengths, batch.number, speakers)


def is_out_of_memory(error: RuntimeError) -> bool:
    """On a GPU torch has a type for it, on a CPU only a text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
