"""Estimate of a run's time, memory and disk space, scaled up from a few batches that are measured before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from commands.run.corpus import PreparedCorpus
from corpus.batches import Batch, epoch_order
from hparams import HParams
from models import TrainableModel, build_model, count_parameters
from models.memory import is_out_of_memory, release_gpu_memory
from training.run_state import RunLimits
from training.step.probe import ProbeResult, ProbeTime, run_probe

GROWTH = 4
"""Factor by which the measured batch grows, as long as there is time."""
QUICK_SECONDS = 1.0
"""Measurements that take no longer are always made."""
BYTES_PER_WEIGHT = 16  # float32 weight, gradient and Adam's two moments
CHECKPOINT_BYTES_PER_WEIGHT = 12


@dataclass(frozen=True)
class StepCost:
    """Time of a mean step, memory of the largest one, and the model's size."""

    seconds: float
    memory_bytes: int
    n_weights: int


@dataclass(frozen=True)
class Estimate:
    """Expected time and size of a run; the text is for the person."""

    text: str
    seconds: float
    seconds_per_step: float


def estimate_run(
    corpus: PreparedCorpus, hparams: HParams, cost: StepCost, *, n_steps: int, limits: RunLimits
) -> Estimate:
    """Scale the cost of a step up to the steps of the run."""
    n_weights = cost.n_weights
    n_frames = sum(e.n_frames for e in corpus.train)
    hours = n_frames * hparams.hop_length / hparams.sampling_rate / 3600
    disk_bytes = (hparams.keep_checkpoints + 2) * CHECKPOINT_BYTES_PER_WEIGHT * n_weights
    disk_bytes += n_frames * hparams.n_mel_channels * 4
    text = (
        f"data    {corpus.name}: {len(corpus.train)} utterances to train on ({hours:.2f} h), "
        f"{len(corpus.held_out)} held out, {len(corpus.skipped)} skipped\n"
        f"model   {hparams.model}: {n_weights / 1e6:.1f} million weights, {len(corpus.frontend.symbols)} symbols, "
        f"{hparams.language}\n"
        f"time    {time_text(n_steps, cost.seconds, limits.seconds_left)}\n"
        f"memory  about {cost.memory_bytes / 1e9:.1f} GB\n"
        f"disk    about {disk_bytes / 1e9:.2f} GB"
    )
    seconds = min(n_steps * cost.seconds, limits.seconds_left)
    return Estimate(text, seconds, cost.seconds)


def time_text(n_steps: int, seconds_per_step: float, seconds_left: float) -> str:
    """Time that the steps take, or what can be reached in the time that is left."""
    needed, steps = n_steps * seconds_per_step, f"{n_steps:,} steps of {seconds_per_step:.2f} s"
    if needed <= seconds_left:
        return f"about {format_duration(needed)} for {steps}"
    n_reached = int(seconds_left / seconds_per_step)
    all_steps = f"all of them would take {format_duration(needed)}"
    return f"{format_duration(seconds_left)} of --max_minutes are left: about {n_reached:,} of {steps}; {all_steps}"


def measure_step(
    corpus: PreparedCorpus,
    hparams: HParams,
    *,
    device: torch.device,
    probe_time: ProbeTime,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> StepCost:
    """Measure passes of growing batches on a model of its own, as far as time and memory allow.

    The random state stays as it is. `progress` receives the utterances measured at once and those of a batch.
    """
    loader = corpus.loader(corpus.train, hparams)
    order = epoch_order(corpus.train, hparams, 0)
    frames = [max(corpus.train[i].n_frames for i in indices) * len(indices) for indices in order]
    median_batch = order[frames.index(sorted(frames)[len(frames) // 2])]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = build_model(hparams, len(corpus.frontend.symbols)).to(device).train()
        _, probe = measure_passes(
            model, lambda n: loader.load(median_batch[:n]).to(device), len(median_batch), hparams, probe_time, progress
        )
    n_weights = count_parameters(model)
    del model
    release_gpu_memory()
    memory = probe.activation_bytes * max(frames) / probe.padded_frames + n_weights * BYTES_PER_WEIGHT
    if device.type == "cpu":
        memory += psutil.Process().memory_info().rss
    batches_of_probe_size = sum(frames) / len(frames) / probe.padded_frames
    return StepCost(probe.seconds * max(1.0, batches_of_probe_size), int(memory), n_weights)


def measure_passes(
    model: TrainableModel,
    load: Callable[[int], Batch],
    batch_size: int,
    hparams: HParams,
    probe_time: ProbeTime,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, ProbeResult]:
    """Run passes of growing parts of a batch, as far as time and memory allow; return the last one and its size."""
    n, probe = 1, _run_second_probe(model, load(1), hparams)
    probe_time.limit_to_run(probe.seconds * batch_size)
    while n < batch_size:
        n_next = min(GROWTH * n, batch_size)
        if 2 * probe.seconds * n_next / n > max(probe_time.left, QUICK_SECONDS):
            break
        try:
            probe = _run_second_probe(model, load(n_next), hparams)
        except RuntimeError as error:  # if it does not fit into memory, training will use micro-batches
            if not is_out_of_memory(error):
                raise
            break
        n = n_next
        progress(n, batch_size)
    return n, probe


def _run_second_probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
    """Run two passes and return the second; the first one includes one-time set-up."""
    run_probe(model, batch, hparams)
    return run_probe(model, batch, hparams)


def format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
