"""What is measured once, at the start of a run, and then belongs to its recipe: precision and frame budget."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import psutil
import torch

from corpus.batches import Batch, BatchLoader
from hparams import HParams, UserError
from models import TrainableModel, release_gpu_memory
from training.step.micro_batches import is_out_of_memory
from training.step.precision import half_precision
from training.step.probe import ProbeResult, run_probe

WORTH = {"cpu": 1.25, "cuda": 1.1}  # times as fast, where the time of a pass varies as much from hour to hour
ROUNDS = 2  # of passes, of which the quicker counts
LOSS_AGREES, GRADIENT_AGREES = 1e-2, 0.1  # relative
TRIED_UTTERANCES = 8  # on a processor, where a batch may take a minute
OPTIMIZER_BYTES_PER_WEIGHT = 8  # two moments
CPU_MEMORY_SHARE, GPU_MEMORY_SHARE = 0.7, 0.85


def choose_precision(
    model: TrainableModel, loader: BatchLoader, hparams: HParams, device: torch.device
) -> tuple[str, str]:
    """Which format is to be used, and why, in words."""
    half = half_precision(device)
    if half is None:
        return "float32", "float32: this processor has no shorter format"
    order = _by_length(loader)
    tried = order[len(order) // 2 :][:TRIED_UTTERANCES] if device.type == "cpu" else order[: hparams.batch_size]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        found = _of_what_fits(
            tried,
            lambda few: {
                name: _quickest(model, loader.load(few).to(device), hparams, name) for name in ("float32", half)
            },
        )
    full, short = found["float32"], found[half]
    ratio, off = full.seconds / short.seconds, abs(short.loss - full.loss) / max(1.0, abs(full.loss))
    said = f"{half} was {ratio:.2f} times as fast as float32 and its loss was off by {off:.0e}"
    agrees = off <= LOSS_AGREES and abs(short.gradient_norm / full.gradient_norm - 1) <= GRADIENT_AGREES
    if agrees and ratio >= WORTH[device.type]:
        return half, f"{said}: using it"
    return "float32", f"{said}: using float32"


def _quickest(model: TrainableModel, batch: Batch, hparams: HParams, name: str) -> ProbeResult:
    """Of a few passes with the same random numbers, after one that pays for what is done only once."""
    recipe, trials = hparams.model_copy(update={"precision": name}), []
    for _ in range(1 + ROUNDS):
        torch.manual_seed(hparams.seed)
        trials.append(run_probe(copy.deepcopy(model).to(batch.mels.device).train(), batch, recipe))
    return min(trials[1:], key=lambda trial: trial.seconds)


def _of_what_fits(order: list[int], measure: Callable[[list[int]], dict[str, ProbeResult]]) -> dict[str, ProbeResult]:
    """With half as many utterances as long as there is too little memory."""
    try:
        return measure(order)
    except RuntimeError as error:
        if not is_out_of_memory(error) or len(order) == 1:
            raise
    return _of_what_fits(order[: len(order) // 2], measure)


def _by_length(loader: BatchLoader) -> list[int]:
    """Longest first."""
    return sorted(range(len(loader.examples)), key=lambda i: -loader.examples[i].n_frames)


def choose_frame_budget(
    model: TrainableModel, loader: BatchLoader, hparams: HParams, device: torch.device
) -> tuple[int, str]:
    """The largest number of padded frames that fits into memory, for batches of the longest utterances."""
    order = _by_length(loader)[: hparams.batch_size]
    longest = loader.examples[order[0]].n_frames
    trial = copy.deepcopy(model).to(device).train()
    release_gpu_memory()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        fits = _fits_on_gpu if device.type == "cuda" else _fits_in_main_memory
        n_fit = largest_that_fits(len(order), fits(trial, loader, order, hparams, device))
    if n_fit == 0:
        seconds = longest * hparams.hop_length / hparams.sampling_rate
        raise UserError(
            f"--batch_frames auto: not even the longest utterance ({seconds:.1f} s) fits into memory; "
            "lower max_utterance_seconds or choose a smaller --preset"
        )
    budget = max(100, n_fit * longest)
    everything = " (a whole batch_size does)" if n_fit == len(order) else ""
    return budget, f"{n_fit} of the longest utterances fit into memory{everything}: {budget:,} frames a batch"


def largest_that_fits(most: int, fits: Callable[[int], bool]) -> int:
    """By bisection, beginning with all."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _fits_on_gpu(
    model: TrainableModel, loader: BatchLoader, order: list[int], hparams: HParams, device: torch.device
) -> Callable[[int], bool]:
    """By trying, with what the optimizer will need held."""
    free, total = torch.cuda.mem_get_info(device)
    allowed = total * torch.cuda.get_per_process_memory_fraction(device.index)
    room = min(free + torch.cuda.memory_reserved(device), allowed)
    n_weights = sum(p.numel() for p in model.parameters())

    def fits(n: int) -> bool:
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.empty(n_weights * OPTIMIZER_BYTES_PER_WEIGHT, dtype=torch.uint8, device=device)
        is_done = False
        with contextlib.suppress(torch.OutOfMemoryError):
            run_probe(model, loader.load(order[:n]).to(device), hparams)
            is_done = True
        used = torch.cuda.max_memory_reserved(device)
        del held
        model.zero_grad()
        release_gpu_memory()
        return is_done and used <= GPU_MEMORY_SHARE * room

    return fits


def _fits_in_main_memory(
    model: TrainableModel, loader: BatchLoader, order: list[int], hparams: HParams, device: torch.device
) -> Callable[[int], bool]:
    """By what one and two utterances take: trying more than there is would end the program."""
    n_weights = sum(p.numel() for p in model.parameters())
    one = run_probe(model, loader.load(order[:1]), hparams).activation_bytes
    two = run_probe(model, loader.load(order[:2]), hparams).activation_bytes
    each, first = (two - one, one) if len(order) > 1 else (0, one)
    room = CPU_MEMORY_SHARE * psutil.virtual_memory().available - 3 * 4 * n_weights
    return lambda n: 2 * (first + (n - 1) * each) <= room  # gradients of what is kept take as much again
