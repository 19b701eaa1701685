"""Model and optimizer, and one update of the weights: from several chunks of data, on one or several ranks."""

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
from models.memory import is_out_of_memory
from training.distributed.rank_group import RankGroup, SharedState
from training.step.optimizers import build_optimizer
from training.step.precision import Precision


@dataclass(frozen=True)
class UpdateResult:
    """Losses and gradient of one update on all ranks; if anything was not finite, no weight was changed."""

    losses: dict[str, float]
    utterance_ids: tuple[str, ...]
    utterance_losses: tuple[float, ...]
    gradient_norm: float | None  # before clipping; None: not finite
    update_ratio: float | None
    measures: dict[str, float]  # of weights and gradients, on request
    stop_signal: str | None = None  # received by any rank


@dataclass(frozen=True)
class RankResult:
    """One rank's share of an update. Losses are weighted by the rank's share of all frames."""

    losses: dict[str, float]
    total_loss: float
    utterance_ids: tuple[str, ...]
    utterance_losses: tuple[float, ...]
    out_of_memory: str | None = None
    stop_signal: str | None = None


class Learner:
    """A model with its optimizer and number format; on several ranks, one of identical copies."""

    def __init__(
        self, model: TrainableModel, hparams: HParams, device: torch.device, rank_group: RankGroup | None = None
    ) -> None:
        self.model, self.device = model.to(device), device
        self.rank_group = rank_group or RankGroup.single()
        self.precision = Precision(hparams.precision, device)
        self.optimizer = build_optimizer(self.model, hparams)
        self.stop_signal: str | None = None
        self.is_synchronized = False
        """Whether the other ranks have the same weights and optimizer state."""

    def shared_state(self, hparams: HParams, *, seed: int) -> SharedState:
        """State to broadcast, after which the ranks are synchronized."""
        self.is_synchronized = True
        weights, optimizer = _to_cpu(self.model.state_dict()), _to_cpu(self.optimizer.state_dict())
        return SharedState(hparams.model_dump(mode="json"), weights, optimizer, self.precision.state_dict(), seed)

    def load_shared_state(self, state: SharedState) -> None:
        self.model.load_state_dict(state.weights)
        self.optimizer.load_state_dict(state.optimizer)
        self.precision.load_state_dict(state.precision)
        torch.manual_seed(state.seed * self.rank_group.size + self.rank_group.rank)

    @torch.no_grad()
    def initialize_lazily(self, batch: Batch) -> None:
        """Run a forward pass: layers that derive their first values from data do so before the weights are shared."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.precision.autocast():
            self.model.train()
            self.model(batch.to(self.device))

    def update(
        self,
        chunks: Sequence[Batch],
        loss_knobs: LossKnobs,
        *,
        clip_norm: float,
        measure: bool,
        total_frames: int | None = None,
    ) -> UpdateResult:
        """Forward and backward pass over all chunks, each weighted by its share of all ranks' frames, then one step.

        The step is skipped if a loss or the gradient is not finite. If any rank runs out of memory, all of them raise.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        snapshot = self.model.snapshot()
        frames = sum(int(chunk.mel_lengths.sum()) for chunk in chunks)
        try:
            result, error = self._run_chunks(chunks, loss_knobs, total_frames or frames)
        except RuntimeError:
            self.model.restore(snapshot)  # the batch norm statistics have been updated from a part of the batch
            raise
        results = self.rank_group.gather(result)
        if failures := [f"rank {rank}: {r.out_of_memory}" for rank, r in enumerate(results) if r.out_of_memory]:
            self.model.restore(snapshot)
            try:
                raise error or torch.OutOfMemoryError("; ".join(failures))
            finally:
                del error  # its traceback refers to this frame, and such a cycle would keep all activations in memory
        self._reduce(frames / (total_frames or frames))
        gradient_norm = self._clip_gradient(clip_norm) if all(math.isfinite(r.total_loss) for r in results) else None
        return self._finish_update(results, gradient_norm, snapshot, clip_norm=clip_norm, measure=measure)

    def _run_chunks(
        self, chunks: Sequence[Batch], loss_knobs: LossKnobs, total_frames: int
    ) -> tuple[RankResult, RuntimeError | None]:
        """Accumulate the gradient of this rank's chunks; an out-of-memory error is returned, to be shared first."""
        shares = [int(chunk.mel_lengths.sum()) / total_frames for chunk in chunks]
        try:
            losses = [self._run_chunk(chunk, loss_knobs, share) for chunk, share in zip(chunks, shares, strict=True)]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return RankResult({}, math.nan, (), (), out_of_memory=str(error).splitlines()[0]), error
        names, weighted = losses[0].parts if losses else (), list(zip(shares, losses, strict=True))
        parts = {name: math.fsum(share * float(loss.parts[name]) for share, loss in weighted) for name in names}
        total = sum(share * float(loss.total) for share, loss in weighted)
        utterance_ids = tuple(id_ for chunk in chunks for id_ in chunk.ids)
        utterance_losses = tuple(value for loss in losses for value in loss.by_utterance.tolist())
        return RankResult(parts, total, utterance_ids, utterance_losses, stop_signal=self.stop_signal), None

    def _run_chunk(self, chunk: Batch, loss_knobs: LossKnobs, share: float) -> Losses:
        """Add the chunk's share to the gradient unless its loss is not finite; returns the losses without graph."""
        chunk = chunk.to(self.device)
        with self.precision.autocast():
            losses = self.model.losses(self.model(chunk), chunk, loss_knobs)
        if math.isfinite(float(losses.total.detach())):
            self.precision.scale(share * losses.total if share != 1 else losses.total).backward()
        return losses.detached()

    @torch.no_grad()
    def _reduce(self, share: float) -> None:
        """Sum the gradients over all ranks, and average batch norm statistics, weighted by shares of frames."""
        if self.rank_group.size == 1:
            return
        self.rank_group.all_reduce(_gradients(self.model))
        statistics = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        for buffer in statistics:
            buffer.mul_(share)
        self.rank_group.all_reduce(statistics)

    def _clip_gradient(self, clip_norm: float) -> float | None:
        """Clip the gradient and return its norm before that; None if it is not finite."""
        self.precision.unscale(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm))
        if not math.isfinite(norm):
            self.precision.skip_step()
            return None
        return norm

    def _finish_update(
        self,
        results: Sequence[RankResult],
        gradient_norm: float | None,
        snapshot: list[Tensor],
        *,
        clip_norm: float,
        measure: bool,
    ) -> UpdateResult:
        """Take the optimizer step, or without a finite gradient restore the snapshot."""
        names = next((r.losses for r in results if r.losses), {})
        losses = {name: math.fsum(r.losses[name] for r in results if r.losses) for name in names}
        utterance_ids = tuple(id_ for r in results for id_ in r.utterance_ids)
        utterance_losses = tuple(value for r in results for value in r.utterance_losses)
        signal = next((r.stop_signal for r in results if r.stop_signal), None)
        if gradient_norm is None:
            self.model.restore(snapshot)
            return UpdateResult(losses, utterance_ids, utterance_losses, None, None, {}, signal)
        measures = self._measure(min(1.0, clip_norm / (gradient_norm + 1e-6))) if measure else {}
        update_ratio = self._step(measure)
        return UpdateResult(losses, utterance_ids, utterance_losses, gradient_norm, update_ratio, measures, signal)

    def _measure(self, clip_factor: float) -> dict[str, float]:
        """The model's measures and the norms of its gradient parts as they were before clipping."""
        parts = {
            name: [parameter.grad for parameter in parameters if parameter.grad is not None]
            for name, parameters in self.model.gradient_parts().items()
        }
        gradients = {name: part for name, part in parts.items() if part}
        if not gradients:
            return self.model.measures()
        norms = torch.stack([torch.nn.utils.get_total_norm(part) for part in gradients.values()]) / clip_factor
        return self.model.measures() | dict(zip(gradients, norms.tolist(), strict=True))

    def _step(self, measure: bool) -> float | None:
        """Change the weights; returns, on request, the norm of the change relative to that of the weights."""
        parameters = list(self.model.parameters())
        before = [p.detach().clone() for p in parameters] if measure else []
        self.precision.step(self.optimizer)
        torch.autograd.graph.increment_version(parameters)  # a fused step does not, and cached weights would go stale
        return _update_ratio(parameters, before) if measure else None


def _update_ratio(parameters: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    change = torch.stack([(p.detach() - b).square().sum() for p, b in zip(parameters, before, strict=True)]).sum()
    size = torch.stack([b.square().sum() for b in before]).sum()
    return float((change / size).sqrt())


def _gradients(model: nn.Module) -> list[Tensor]:
    """Gradients of all weights; zeros for those this rank has computed none of."""
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def _to_cpu(state: Any) -> Any:
    """Copy of a state dict in main memory: the other ranks compute on other GPUs."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {name: _to_cpu(value) for name, value in state.items()}
    return [_to_cpu(value) for value in state] if isinstance(state, list) else state
