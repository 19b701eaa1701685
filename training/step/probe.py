"""One forward and backward pass without an update, to measure time, memory, loss and gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from corpus.batches import Batch
from hparams import HParams
from models import TrainableModel
from training.knobs import Knobs
from training.step.precision import Precision

MAX_PROBE_SECONDS, RUN_SHARE = 30.0, 0.1


class ProbeTime:
    """Time for measuring before a run begins: half a minute at most, and a tenth of the run's own length."""

    def __init__(self, n_steps: int, run_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        """`run_seconds`: limit of the run; infinity without one."""
        self._n_steps, self._now = n_steps, now
        self._seconds = min(MAX_PROBE_SECONDS, RUN_SHARE * run_seconds)
        self._started = now()

    @property
    def left(self) -> float:
        return self._seconds - (self._now() - self._started)

    def limit_to_run(self, step_seconds: float) -> None:
        """Now that the time of a step is roughly known, the length of the run is too."""
        self._seconds = min(self._seconds, RUN_SHARE * self._n_steps * step_seconds)


@dataclass(frozen=True)
class ProbeResult:
    """Cost and result of one pass."""

    seconds: float
    activation_bytes: int  # stored by the forward pass for the backward pass
    padded_frames: int
    loss: float
    gradient_norm: float


def run_probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
    """Run one pass on a copy of the model: it changes batch norm statistics."""
    storage_bytes: dict[int, int] = {}

    def record_storage(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storage_bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    loss_knobs = Knobs.from_hparams(hparams).for_losses(1, hparams)
    precision = Precision(hparams.precision, batch.mels.device)
    started = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(record_storage, lambda tensor: tensor), precision.autocast():
        loss = model.losses(model(batch), batch, loss_knobs).total
    precision.scale(loss).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients) / precision.scale(torch.ones((), device=loss.device)))
    model.zero_grad()
    seconds = time.perf_counter() - started  # the GPU has finished: reading the norm waited for it
    padded_frames = batch.mels.size(0) * batch.mels.size(2)
    return ProbeResult(seconds, sum(storage_bytes.values()), padded_frames, loss.item(), norm)
