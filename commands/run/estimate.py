"""What a run is going to take, said before it starts: measured on a small batch, not guessed."""

from __future__ import annotations

import contextlib
import copy
import time
from dataclasses import dataclass

import psutil
import torch

from commands.run.corpus import PreparedCorpus
from corpus.batches import Batch, epoch_order
from hparams import HParams
from models import TrainableModel, count_parameters, release_gpu_memory
from training.run_state import RunLimits
from training.step.probe import run_probe

TRIAL_UTTERANCES = 4
AFFORDABLE_SECONDS = 1.0  # for the small trial: then a whole batch is tried too, which says it better
BYTES_PER_WEIGHT = 16  # float32 weight, gradient and Adam's two moments
CHECKPOINT_BYTES_PER_WEIGHT = 12


@dataclass(frozen=True)
class Forecast:
    """Seconds a step and bytes at the peak, scaled up from a trial batch."""

    seconds_per_step: float
    memory_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a run is going to be: for the person, and for the journal."""

    text: str
    seconds: float


def make_plan(
    corpus: PreparedCorpus,
    model: TrainableModel,
    hparams: HParams,
    *,
    n_steps: int,
    limits: RunLimits,
    device: torch.device,
) -> Plan:
    """A few lines: data, model, time, memory, disk."""
    forecast = measure(corpus, model, hparams, device=device)
    n_weights = count_parameters(model)
    frames = [e.n_frames for e in corpus.train]
    hours = sum(frames) * hparams.hop_length / hparams.sampling_rate / 3600
    seconds = n_steps * forecast.seconds_per_step
    if limits.deadline is not None:
        seconds = min(seconds, max(0.0, limits.deadline - time.monotonic()))
    disk = (hparams.keep_checkpoints + 2) * CHECKPOINT_BYTES_PER_WEIGHT * n_weights
    disk += sum(frames) * hparams.n_mel_channels * 4
    text = (
        f"data    {corpus.name}: {len(corpus.train)} utterances to train on ({hours:.2f} h), "
        f"{len(corpus.held_out)} held out, {len(corpus.skipped)} skipped\n"
        f"model   {hparams.model}: {n_weights / 1e6:.1f} million weights, {len(corpus.frontend.symbols)} symbols, "
        f"{hparams.language}\n"
        f"time    about {_duration(seconds)} for {n_steps:,} steps of {forecast.seconds_per_step:.2f} s\n"
        f"memory  about {forecast.memory_bytes / 1e9:.1f} GB\n"
        f"disk    about {disk / 1e9:.2f} GB"
    )
    return Plan(text, seconds)


def measure(corpus: PreparedCorpus, model: TrainableModel, hparams: HParams, *, device: torch.device) -> Forecast:
    """Try batches forward and backward on a copy of the model; the run itself is not touched."""
    loader = corpus.loader(corpus.train, hparams)
    order = epoch_order(corpus.train, hparams, 0)
    frames = [max(corpus.train[i].n_frames for i in indices) * len(indices) for indices in order]
    typical = order[frames.index(sorted(frames)[len(frames) // 2])]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        trial = copy.deepcopy(model).to(device).train()
        seconds, kept_bytes, share = _timed(trial, loader.load(typical[:TRIAL_UTTERANCES]).to(device), hparams)
        if seconds < AFFORDABLE_SECONDS:
            # Without memory for it, what the small one took has to do; training will cut its batches.
            with contextlib.suppress(torch.OutOfMemoryError):
                seconds, kept_bytes, share = _timed(trial, loader.load(typical).to(device), hparams)
    del trial
    release_gpu_memory()
    memory = kept_bytes * max(frames) / share + count_parameters(model) * BYTES_PER_WEIGHT
    if device.type == "cpu":
        memory += psutil.Process().memory_info().rss
    return Forecast(seconds * max(1.0, sum(frames) / len(frames) / share), int(memory))


def _timed(model: TrainableModel, batch: Batch, hparams: HParams) -> tuple[float, int, int]:
    """Seconds and bytes that a batch takes, and its padded frames; the first pass pays for one-time set-up."""
    run_probe(model, batch, hparams)
    trial = run_probe(model, batch, hparams)
    return trial.seconds, trial.activation_bytes, trial.padded_frames


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
