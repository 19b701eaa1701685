"""Settings that are measured when a run begins and then stay with it: number format and frames per batch."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Sequence

import psutil
import torch

from corpus.batches import BatchLoader
from hparams import HParams, UserError
from models import TrainableModel, count_parameters
from models.memory import is_out_of_memory, release_gpu_memory
from training.step.precision import half_precision
from training.step.probe import ProbeResult, ProbeTime, run_probe

MIN_SPEEDUP = {"cpu": 1.25, "cuda": 1.1}  # a smaller one may be noise: timings vary as much from hour to hour
TIMED_PASSES = 2  # the faster one counts
BUDGET_SHARE = 0.7  # of the time for measuring; the rest is for the forecast
N_PASSES = 2 + 2 * (1 + TIMED_PASSES)
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-2, 0.1  # relative
CPU_UTTERANCES = 8  # on a CPU a whole batch may take a minute
OPTIMIZER_BYTES_PER_WEIGHT = 8  # Adam's two moments
CPU_MEMORY_SHARE, GPU_MEMORY_SHARE = 0.7, 0.85


def choose_precision(
    model: TrainableModel,
    loader: BatchLoader,
    hparams: HParams,
    *,
    device: torch.device,
    probe_time: ProbeTime,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[str, str]:
    """The number format to train in, and the reason as a text; `progress` receives the passes done and in all."""
    half = half_precision(device)
    if half is None:
        return "float32", "float32: this processor has no shorter format"
    order = _longest_first(loader)
    indices = order[len(order) // 2 :][:CPU_UTTERANCES] if device.type == "cpu" else order[: hparams.batch_size]
    passes = itertools.count(1)

    def probe(indices: Sequence[int], precision: str) -> ProbeResult:
        torch.manual_seed(hparams.seed)
        batch = loader.load(indices).to(device)
        copied = copy.deepcopy(model).to(device).train()
        result = run_probe(copied, batch, hparams.model_copy(update={"precision": precision}))
        progress(next(passes), N_PASSES)
        return result

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        set_up, single = probe(indices[:1], "float32"), probe(indices[:1], "float32")
        probe_time.limit_to_run(single.seconds * len(loader.examples) / loader.n_batches(0))
        left = BUDGET_SHARE * probe_time.left - (set_up.seconds - single.seconds)  # the other format is set up too
        n_fit = int(left / single.seconds / (2 * (1 + TIMED_PASSES)))
        if n_fit < 1:
            return "float32", f"float32: trying {half} would take more than {max(0.0, probe_time.left):.0f} s"
        results = _measure_what_fits(indices[:n_fit], probe, half)
    full, short = results["float32"], results[half]
    speedup = full.seconds / short.seconds
    loss_error = abs(short.loss - full.loss) / max(1.0, abs(full.loss))
    gradient_error = abs(short.gradient_norm / full.gradient_norm - 1)
    comparison = f"{half} was {speedup:.2f} times as fast as float32 and its loss was off by {loss_error:.0e}"
    is_accurate = loss_error <= LOSS_TOLERANCE and gradient_error <= GRADIENT_TOLERANCE
    if is_accurate and speedup >= MIN_SPEEDUP[device.type]:
        return half, f"{comparison}: using it"
    return "float32", f"{comparison}: using float32"


def _measure_what_fits(
    indices: Sequence[int], probe: Callable[[Sequence[int], str], ProbeResult], half: str
) -> dict[str, ProbeResult]:
    """The faster pass of each format, after one that pays for set-up; with fewer utterances where memory runs out."""
    try:
        passes = {name: [probe(indices, name) for _ in range(1 + TIMED_PASSES)] for name in ("float32", half)}
        return {name: min(results[1:], key=lambda result: result.seconds) for name, results in passes.items()}
    except RuntimeError as error:
        if not is_out_of_memory(error) or len(indices) == 1:
            raise
    return _measure_what_fits(indices[: len(indices) // 2], probe, half)


def _longest_first(loader: BatchLoader) -> list[int]:
    return sorted(range(len(loader.examples)), key=lambda i: -loader.examples[i].n_frames)


def choose_frame_budget(
    model: TrainableModel, loader: BatchLoader, hparams: HParams, device: torch.device
) -> tuple[int, str]:
    """The most padded frames with which a batch fits into memory, and the reason as a text."""
    indices = _longest_first(loader)[: hparams.batch_size]
    longest = loader.examples[indices[0]].n_frames
    probed_model = copy.deepcopy(model).to(device).train()
    release_gpu_memory()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        build_check = _gpu_memory_check if device.type == "cuda" else _main_memory_check
        n_fit = largest_that_fits(len(indices), build_check(probed_model, loader, indices, hparams, device))
    if n_fit == 0:
        seconds = longest * hparams.hop_length / hparams.sampling_rate
        raise UserError(
            f"--batch_frames auto: not even the longest utterance ({seconds:.1f} s) fits into memory; "
            "lower max_utterance_seconds or choose a smaller --preset"
        )
    budget = max(100, n_fit * longest)
    everything = " (a whole batch_size does)" if n_fit == len(indices) else ""
    return budget, f"{n_fit} of the longest utterances fit into memory{everything}: {budget:,} frames a batch"


def largest_that_fits(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, within 1/16, by bisection; 0 if none does."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _gpu_memory_check(
    model: TrainableModel, loader: BatchLoader, indices: list[int], hparams: HParams, device: torch.device
) -> Callable[[int], bool]:
    """Check by running a pass, with as much memory allocated as the optimizer will need."""
    free, total = torch.cuda.mem_get_info(device)
    allowed = total * torch.cuda.get_per_process_memory_fraction(device.index)
    available = min(free + torch.cuda.memory_reserved(device), allowed)
    n_weights = count_parameters(model)

    def fits(n: int) -> bool:
        torch.cuda.reset_peak_memory_stats(device)
        optimizer_state = torch.empty(n_weights * OPTIMIZER_BYTES_PER_WEIGHT, dtype=torch.uint8, device=device)
        is_complete = False
        with contextlib.suppress(torch.OutOfMemoryError):
            run_probe(model, loader.load(indices[:n]).to(device), hparams)
            is_complete = True
        used = torch.cuda.max_memory_reserved(device)
        del optimizer_state
        model.zero_grad()
        release_gpu_memory()
        return is_complete and used <= GPU_MEMORY_SHARE * available

    return fits


def _main_memory_check(
    model: TrainableModel, loader: BatchLoader, indices: list[int], hparams: HParams, device: torch.device
) -> Callable[[int], bool]:
    """Check by extrapolating from one and two utterances: a pass that exceeds main memory would kill the process."""
    n_weights = count_parameters(model)
    one = run_probe(model, loader.load(indices[:1]), hparams).activation_bytes
    two = run_probe(model, loader.load(indices[:2]), hparams).activation_bytes
    each, first = (two - one, one) if len(indices) > 1 else (0, one)
    weights_bytes = 3 * 4 * n_weights  # gradient and two moments, in float32
    available = CPU_MEMORY_SHARE * psutil.virtual_memory().available - weights_bytes
    return lambda n: 2 * (first + (n - 1) * each) <= available  # the gradients of activations take as much again
