"""Training and speech speed of Tacotron 2, beside torchaudio's and one that computes frame by frame.

`python -m benchmarks speed` takes less than ten minutes on two idle cores. All implementations have the same weights
and batch, and are timed in turns: forward, backward and update at full size (8 utterances of 400 frames, `--large` 32
of 800) and at the demo's size, in float32 and bfloat16; then the memory of a step, and free-running speech. Losses and
gradients are compared first. Exits 1 when they differ; the last line has the ratios of the full size.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MethodType
from typing import TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reporting import Write, conclude
from benchmarks.speed.interleave import median_speedup, time_interleaved
from benchmarks.speed.tacotron2_peers import (
    decode_frame_by_frame,
    disable_stopping,
    torchaudio_forward,
    torchaudio_tacotron2,
)
from corpus.batches import Batch
from hparams import HParams, build_hparams
from models import layers
from models.interface import AttentionOutput
from models.tacotron2 import model as tacotron2
from models.tacotron2.loss import tacotron2_losses
from models.tacotron2.model import Tacotron2
from recipes import RECIPES
from training.knobs import Knobs
from training.step.allocator import keep_freed_memory
from training.step.optimizers import build_optimizer
from training.step.precision import NO_BFLOAT16, half_precision

ALPHABET_SIZE = 148
OWN, OWN_BFLOAT16, TORCHAUDIO, REFERENCE = "own float32", "own bfloat16", "torchaudio float32", "frame by frame float32"
SPEECH_STEPS = 300
MAX_LOSS_ERROR, MAX_GRADIENT_ERROR = 1e-5, 1e-3  # relative; in bfloat16 a hundred times as much
ROUNDS = {"full": 4, "demo": 12}

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Workload:
    """Size of model and batch."""

    preset: str
    n_items: int
    n_frames: int
    n_symbols: int

    @property
    def hparams(self) -> HParams:
        return build_hparams(RECIPES["tacotron2"].presets[self.preset], {"max_decoder_steps": SPEECH_STEPS})

    def batch(self, device: torch.device) -> Batch:
        generator, hparams = torch.Generator().manual_seed(1), self.hparams
        n_frames = self.n_frames // hparams.n_frames_per_step * hparams.n_frames_per_step
        text = torch.randint(1, ALPHABET_SIZE, (self.n_items, self.n_symbols), generator=generator)
        mels = torch.randn(self.n_items, hparams.n_mel_channels, n_frames, generator=generator) - 5
        lengths = torch.full((self.n_items,), self.n_symbols), torch.full((self.n_items,), n_frames)
        return Batch(tuple(map(str, range(self.n_items))), text, lengths[0], mels, lengths[1]).to(device)


DEMO, FULL, LARGE = Workload("demo", 8, 240, 40), Workload("full", 8, 400, 100), Workload("full", 32, 800, 150)


@dataclass(frozen=True)
class Implementation:
    """A model with its forward pass and number format."""

    model: nn.Module
    forward: Callable[[Batch], AttentionOutput]
    dtype: torch.dtype

    def loss(self, batch: Batch, hparams: HParams) -> Tensor:
        knobs = Knobs.from_hparams(hparams).for_losses(1, hparams)
        with torch.autocast(batch.text.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return tacotron2_losses(self.forward(batch), batch, knobs, hparams).total

    def training_step(self, batch: Batch, hparams: HParams) -> Callable[[], None]:
        """Make a function that runs one training step; every implementation has the program's optimizer."""
        optimizer = build_optimizer(self.model, hparams)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            self.loss(batch, hparams).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), hparams.grad_clip_thresh)
            optimizer.step()

        return step


def build_implementations(workload: Workload, device: torch.device) -> dict[str, Implementation]:
    """Build all implementations, each with its own copy of the same weights."""
    torch.manual_seed(0)
    own = Tacotron2(workload.hparams, ALPHABET_SIZE)
    peer, reference, half = torchaudio_tacotron2(own, workload.hparams), copy.deepcopy(own), copy.deepcopy(own)
    reference.decoder.forward = MethodType(decode_frame_by_frame, reference.decoder)  # type: ignore[method-assign]
    for model in (own, half, peer, reference):
        model.to(device)
    implementations = {
        OWN: Implementation(own, own, torch.float32),
        OWN_BFLOAT16: Implementation(half, half, torch.bfloat16),
        TORCHAUDIO: Implementation(peer, lambda batch: torchaudio_forward(peer, batch), torch.float32),
        REFERENCE: Implementation(reference, reference, torch.float32),
    }
    return supported(implementations, device)


def supported(entries: dict[str, Entry], device: torch.device) -> dict[str, Entry]:
    """Leave out bfloat16 on devices without instructions for it, where its speed means nothing."""
    is_supported = half_precision(device) == "bfloat16"
    return {name: entry for name, entry in entries.items() if name != OWN_BFLOAT16 or is_supported}


@contextmanager
def without_dropout() -> Iterator[None]:
    """Disable all dropout, also the prenet's, which is active in evaluation mode too."""
    with ExitStack() as patches:
        for module in (F, layers, tacotron2):
            patches.enter_context(patch.object(module, "dropout", lambda x, *_, **__: x))
        yield


def compare(workload: Workload, device: torch.device, write: Write) -> bool:
    """Whether all losses and gradients equal those of the frame-by-frame reference."""
    batch, is_equal = workload.batch(device), True
    reference_loss, reference_gradient = 0.0, torch.zeros(0)
    for name, implementation in reversed(build_implementations(workload, device).items()):
        with without_dropout():
            loss = implementation.loss(batch, workload.hparams)
            loss.backward()
        parameters = implementation.model.parameters()
        gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        if name == REFERENCE:
            reference_loss, reference_gradient = loss.item(), gradient
        loss_error = abs(loss.item() / reference_loss - 1)
        gradient_error = float((gradient - reference_gradient).norm() / reference_gradient.norm())
        factor = 1 if implementation.dtype == torch.float32 else 100
        is_equal &= loss_error <= factor * MAX_LOSS_ERROR and gradient_error <= factor * MAX_GRADIENT_ERROR
        errors = f"error {loss_error:.0e}, of its gradient {gradient_error:.0e}"
        write(f"{workload.preset} {name}: loss {loss.item():.6f}, {errors}\n")
    return is_equal


def measure_training(workload: Workload, device: torch.device, write: Write) -> dict[str, list[float]]:
    """Print the speed of training steps; return their seconds."""
    batch, hparams = workload.batch(device), workload.hparams
    implementations = build_implementations(workload, device)
    steps = {name: each.training_step(batch, hparams) for name, each in implementations.items()}
    times = time_interleaved(steps, rounds=ROUNDS[workload.preset])
    frames = int(batch.mel_lengths.sum())
    for name, seconds in times.items():
        speed, ratio = frames / statistics.median(seconds), median_speedup(times, name, TORCHAUDIO)
        size = f"{workload.preset} {workload.n_items} × {workload.n_frames}"
        write(f"{size}, {name}: {speed:,.0f} frames/s, {ratio:.2f} ×\n")
    return times


def measure_speech(workload: Workload, device: torch.device, write: Write) -> None:
    """Print the speed of free-running decodes of equal length."""
    torch.manual_seed(0)
    own = Tacotron2(workload.hparams, ALPHABET_SIZE)
    disable_stopping(own)
    peer, own = torchaudio_tacotron2(own, workload.hparams).to(device).eval(), own.to(device).eval()

    def synthesize_in_bfloat16(batch: Batch) -> object:
        with torch.autocast(device.type, torch.bfloat16):
            return own.synthesize(batch.text, batch.text_lengths)

    for n_items in (1, 16):
        batch = replace(workload, n_items=n_items).batch(device)
        functions: dict[str, Callable[[], object]] = {
            TORCHAUDIO: lambda batch=batch: peer.infer(batch.text, batch.text_lengths),  # type: ignore[misc,operator]
            OWN: lambda batch=batch: own.synthesize(batch.text, batch.text_lengths),  # type: ignore[misc]
            OWN_BFLOAT16: lambda batch=batch: synthesize_in_bfloat16(batch),  # type: ignore[misc]
        }
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
            times = time_interleaved(supported(functions, device), rounds=4)
        for name, seconds in times.items():
            speed = n_items * SPEECH_STEPS / statistics.median(seconds)
            ratio = median_speedup(times, name, TORCHAUDIO)
            write(f"speaking, {n_items} at once, {name}: {speed:,.0f} frames/s, {ratio:.2f} ×\n")


def step_megabytes(name: str, workload: Workload, device: torch.device) -> float:
    """Memory that a training step needs beyond weights and optimizer."""
    if device.type == "cpu":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_step_megabytes_on_cpu, (name, workload))
    implementation, batch = build_implementations(workload, device)[name], workload.batch(device)
    step = implementation.training_step(batch, workload.hparams)
    step()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def _step_megabytes_on_cpu(name: str, workload: Workload) -> float:
    batch = workload.batch(torch.device("cpu"))
    implementation = build_implementations(workload, torch.device("cpu"))[name]
    step = implementation.training_step(batch, workload.hparams)
    before = _peak_megabytes()
    step()
    return _peak_megabytes() - before


def _peak_megabytes() -> float:
    """Peak resident memory of this process so far, as Linux reports it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def main(options: argparse.Namespace, write: Write) -> int:
    torch.set_flush_denormal(True)
    keep_freed_memory()
    device = torch.device(options.device)
    n_threads, workload = torch.get_num_threads(), LARGE if options.large else FULL
    if half_precision(device) != "bfloat16":
        write(f"{NO_BFLOAT16}: its rows are left out\n")
    is_equal = compare(workload, device, write)
    times = measure_training(workload, device, write)
    own = [name for name in (OWN, OWN_BFLOAT16) if name in times]
    for name in (*own, TORCHAUDIO):
        write(f"{workload.preset}, memory of a step, {name}: {step_megabytes(name, workload, device):,.0f} MB\n")
    measure_speech(workload, device, write)
    torch.set_num_threads(DEMO.hparams.cpu_threads or n_threads)
    is_equal &= compare(DEMO, device, write)
    measure_training(DEMO, device, write)
    exit_code = conclude(write, is_met=is_equal)
    ratios = ", ".join(f"{name} {median_speedup(times, name, TORCHAUDIO):.2f} × torchaudio's float32" for name in own)
    write(f"full size: {ratios}\n")
    return exit_code


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Training and speech speed of Tacotron 2.")
    parser.add_argument("--large", action="store_true", help="32 utterances of 800 frames, as for a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse(), sys.stdout.write))
