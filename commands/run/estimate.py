"""Estimate of a run's time, memory and disk space, scaled up from a few batches that are measured before it starts."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import psutil
import torch

from commands.run.corpus import PreparedCorpus
from corpus.batches import Batch, epoch_order
from hparams import HParams
from models import TrainableModel, count_parameters
from models.memory import release_gpu_memory
from training.run_state import RunLimits
from models.memory import is_out_of_memory
from training.step.probe import ProbeResult, run_probe

SMALL_BATCH_UTTERANCES = 4
MAX_SMALL_BATCH_SECONDS = 1.0
"""Time of the small batch up to which a whole batch is measured too, which is more accurate."""
BYTES_PER_WEIGHT = 16  # float32 weight, gradient and Adam's two moments
CHECKPOINT_BYTES_PER_WEIGHT = 12


@dataclass(frozen=True)
class StepCost:
    """Time of a mean step and memory of the largest one."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Estimate:
    """Expected time and size of a run; the text is for the person."""

    text: str
    seconds: float


def estimate_run(
    corpus: PreparedCorpus,
    model: TrainableModel,
    hparams: HParams,
    *,
    n_steps: int,
    limits: RunLimits,
    device: torch.device,
) -> Estimate:
    cost = measure_step(corpus, model, hparams, device=device)
    n_weights = count_parameters(model)
    n_frames = sum(e.n_frames for e in corpus.train)
    hours = n_frames * hparams.hop_length / hparams.sampling_rate / 3600
    seconds = n_steps * cost.seconds
    if limits.deadline is not None:
        seconds = min(seconds, max(0.0, limits.deadline - time.monotonic()))
    disk_bytes = (hparams.keep_checkpoints + 2) * CHECKPOINT_BYTES_PER_WEIGHT * n_weights
    disk_bytes += n_frames * hparams.n_mel_channels * 4
    text = (
        f"data    {corpus.name}: {len(corpus.train)} utterances to train on ({hours:.2f} h), "
        f"{len(corpus.held_out)} held out, {len(corpus.skipped)} skipped\n"
        f"model   {hparams.model}: {n_weights / 1e6:.1f} million weights, {len(corpus.frontend.symbols)} symbols, "
        f"{hparams.language}\n"
        f"time    about {_format_duration(seconds)} for {n_steps:,} steps of {cost.seconds:.2f} s\n"
        f"memory  about {cost.memory_bytes / 1e9:.1f} GB\n"
        f"disk    about {disk_bytes / 1e9:.2f} GB"
    )
    return Estimate(text, seconds)


def measure_step(corpus: PreparedCorpus, model: TrainableModel, hparams: HParams, *, device: torch.device) -> StepCost:
    """Measure forward and backward passes on a copy of the model; model and random state stay as they are."""
    loader = corpus.loader(corpus.train, hparams)
    order = epoch_order(corpus.train, hparams, 0)
    frames = [max(corpus.train[i].n_frames for i in indices) * len(indices) for indices in order]
    median_batch = order[frames.index(sorted(frames)[len(frames) // 2])]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model_copy = copy.deepcopy(model).to(device).train()
        small_batch = loader.load(median_batch[:SMALL_BATCH_UTTERANCES]).to(device)
        probe = _run_second_probe(model_copy, small_batch, hparams)
        if probe.seconds < MAX_SMALL_BATCH_SECONDS:
            try:
                probe = _run_second_probe(model_copy, loader.load(median_batch).to(device), hparams)
            except RuntimeError as error:  # if it does not fit into memory, training will use micro-batches
                if not is_out_of_memory(error):
                    raise
    del model_copy
    release_gpu_memory()
    memory = probe.activation_bytes * max(frames) / probe.padded_frames + count_parameters(model) * BYTES_PER_WEIGHT
    if device.type == "cpu":
        memory += psutil.Process().memory_info().rss
    batches_of_probe_size = sum(frames) / len(frames) / probe.padded_frames
    return StepCost(probe.seconds * max(1.0, batches_of_probe_size), int(memory))


def _run_second_probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
    """Run two passes and return the second; the first one includes one-time set-up."""
    run_probe(model, batch, hparams)
    return run_probe(model, batch, hparams)


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
