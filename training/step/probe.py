"""A pass forward and backward before training, to measure what can only be measured."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from corpus.batches import Batch
from hparams import HParams
from models import TrainableModel
from training.knobs import Knobs
from training.step.precision import Precision


@dataclass(frozen=True)
class ProbeResult:
    """What a pass took and what it found."""

    seconds: float
    activation_bytes: int  # for the way back
    padded_frames: int
    loss: float
    gradient_norm: float


def run_probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
    """On a model that is there to be tried out: a pass changes what its normalisation remembers."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    knobs = Knobs.from_hparams(hparams).for_losses(1, hparams)
    precision = Precision(hparams.precision, batch.mels.device)
    began = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), precision.autocast():
        loss = model.losses(model(batch), batch, knobs).total
    precision.scale(loss).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients) / precision.scale(torch.ones((), device=loss.device)))
    model.zero_grad()  # reading the norm has waited for the GPU
    seconds = time.perf_counter() - began
    return ProbeResult(seconds, sum(kept.values()), batch.mels.size(0) * batch.mels.size(2), loss.item(), norm)
