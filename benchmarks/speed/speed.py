"""How fast does Tacotron 2 train and speak, beside torchaudio's and one that steps through every frame?

`python -m benchmarks speed` takes less than ten minutes on two quiet cores. All have the same weights and the same
batch, and take turns: forward, backward and update at full size (8 utterances of 400 frames, `--large` 32 of 800) and
at that of the demo, in float32 and bfloat16; then the memory of a step, and speaking freely. Before anything is timed,
losses and gradients are compared. Exits 1 when they differ; the last line has the ratios of the full size.
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
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed.interleave import in_turns, times_as_fast
from benchmarks.speed.tacotron2_peers import never_stop, step_through_frames, torchaudios, torchaudios_pass
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

ALPHABET = 148
OWN, HALF, PEER, TWIN = "own float32", "own bfloat16", "torchaudio float32", "frame by frame float32"
SPOKEN_STEPS = 300
WANTED_LOSS, WANTED_GRADIENT = 1e-5, 1e-3  # relative; in bfloat16 a hundred times as much
ROUNDS = {"full": 4, "demo": 12}

Write = Callable[[str], object]
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Size:
    """Of model and batch."""

    preset: str
    items: int
    frames: int
    symbols: int

    @property
    def hparams(self) -> HParams:
        return build_hparams(RECIPES["tacotron2"].presets[self.preset], {"max_decoder_steps": SPOKEN_STEPS})

    def batch(self, device: torch.device) -> Batch:
        generator, hparams = torch.Generator().manual_seed(1), self.hparams
        frames = self.frames // hparams.n_frames_per_step * hparams.n_frames_per_step
        text = torch.randint(1, ALPHABET, (self.items, self.symbols), generator=generator)
        mels = torch.randn(self.items, hparams.n_mel_channels, frames, generator=generator) - 5
        lengths = torch.full((self.items,), self.symbols), torch.full((self.items,), frames)
        return Batch(tuple(map(str, range(self.items))), text, lengths[0], mels, lengths[1]).to(device)


DEMO, FULL, LARGE = Size("demo", 8, 240, 40), Size("full", 8, 400, 100), Size("full", 32, 800, 150)


@dataclass(frozen=True)
class Contender:
    """One way to train."""

    model: nn.Module
    forward: Callable[[Batch], AttentionOutput]
    dtype: torch.dtype

    def loss(self, batch: Batch, hparams: HParams) -> Tensor:
        knobs = Knobs.from_hparams(hparams).for_losses(1, hparams)
        with torch.autocast(batch.text.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return tacotron2_losses(self.forward(batch), batch, knobs, hparams).total

    def training(self, batch: Batch, hparams: HParams) -> Callable[[], None]:
        """A step: all have the optimizer that the program uses."""
        optimizer = build_optimizer(self.model, hparams)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            self.loss(batch, hparams).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), hparams.grad_clip_thresh)
            optimizer.step()

        return step


def contenders(size: Size, device: torch.device) -> dict[str, Contender]:
    """With the same weights, each its own."""
    torch.manual_seed(0)
    own = Tacotron2(size.hparams, ALPHABET)
    peer, twin, half = torchaudios(own, size.hparams), copy.deepcopy(own), copy.deepcopy(own)
    twin.decoder.forward = MethodType(step_through_frames, twin.decoder)  # type: ignore[method-assign]
    for model in (own, half, peer, twin):
        model.to(device)
    found = {
        OWN: Contender(own, own, torch.float32),
        HALF: Contender(half, half, torch.bfloat16),
        PEER: Contender(peer, lambda batch: torchaudios_pass(peer, batch), torch.float32),
        TWIN: Contender(twin, twin, torch.float32),
    }
    return of_formats(found, device)


def of_formats(found: dict[str, Entry], device: torch.device) -> dict[str, Entry]:
    """Leave out bfloat16 without instructions for it: plain operations say nothing about the program's speed."""
    return {name: each for name, each in found.items() if name != HALF or half_precision(device) == "bfloat16"}


@contextmanager
def without_dropout() -> Iterator[None]:
    """The prenet's too, which never rests."""
    with ExitStack() as patches:
        for place in (F, layers, tacotron2):
            patches.enter_context(patch.object(place, "dropout", lambda x, *_, **__: x))
        yield


def agree(size: Size, device: torch.device, write: Write) -> bool:
    """Whether all have the loss of the one that steps through frames, and its gradient."""
    batch, wanted, known, is_good = size.batch(device), 0.0, torch.zeros(0), True
    for name, contender in reversed(contenders(size, device).items()):
        with without_dropout():
            loss = contender.loss(batch, size.hparams)
            loss.backward()
        found = torch.cat([p.grad.flatten() for p in contender.model.parameters() if p.grad is not None])
        if name == TWIN:
            wanted, known = loss.item(), found
        off, gradient_off = abs(loss.item() / wanted - 1), float((found - known).norm() / known.norm())
        allowed = 1 if contender.dtype == torch.float32 else 100
        is_good &= off <= allowed * WANTED_LOSS and gradient_off <= allowed * WANTED_GRADIENT
        write(f"{size.preset} {name}: loss {loss.item():.6f}, off by {off:.0e}, its gradient by {gradient_off:.0e}\n")
    return is_good


def train(size: Size, device: torch.device, write: Write) -> dict[str, list[float]]:
    batch, hparams = size.batch(device), size.hparams
    works = {name: each.training(batch, hparams) for name, each in contenders(size, device).items()}
    taken = in_turns(works, rounds=ROUNDS[size.preset])
    frames = int(batch.mel_lengths.sum())
    for name, each in taken.items():
        speed, ratio = frames / statistics.median(each), times_as_fast(taken, name, PEER)
        write(f"{size.preset} {size.items} × {size.frames}, {name}: {speed:,.0f} frames/s, {ratio:.2f} ×\n")
    return taken


def speak(size: Size, device: torch.device, write: Write) -> None:
    """As many frames for all: nobody stops earlier."""
    torch.manual_seed(0)
    own = Tacotron2(size.hparams, ALPHABET)
    never_stop(own)
    peer, own = torchaudios(own, size.hparams).to(device).eval(), own.to(device).eval()

    def in_half(batch: Batch) -> object:
        with torch.autocast(device.type, torch.bfloat16):
            return own.synthesize(batch.text, batch.text_lengths)

    for items in (1, 16):
        batch = Size(size.preset, items, size.frames, size.symbols).batch(device)
        works: dict[str, Callable[[], object]] = {
            PEER: lambda batch=batch: peer.infer(batch.text, batch.text_lengths),  # type: ignore[misc,operator]
            OWN: lambda batch=batch: own.synthesize(batch.text, batch.text_lengths),  # type: ignore[misc]
            HALF: lambda batch=batch: in_half(batch),  # type: ignore[misc]
        }
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
            taken = in_turns(of_formats(works, device), rounds=4)
        for name, each in taken.items():
            speed, ratio = items * SPOKEN_STEPS / statistics.median(each), times_as_fast(taken, name, PEER)
            write(f"speaking, {items} at once, {name}: {speed:,.0f} frames/s, {ratio:.2f} ×\n")


def memory_of(name: str, size: Size, device: torch.device) -> float:
    """Megabytes that a step takes beyond weights and optimizer."""
    if device.type == "cpu":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_resident, (name, size))
    contender, batch = contenders(size, device)[name], size.batch(device)
    step = contender.training(batch, size.hparams)
    step()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def _resident(name: str, size: Size) -> float:
    batch = size.batch(torch.device("cpu"))
    step = contenders(size, torch.device("cpu"))[name].training(batch, size.hparams)
    before = _most_resident()
    step()
    return _most_resident() - before


def _most_resident() -> float:
    """Megabytes that this process ever had, as Linux tells."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def main(options: argparse.Namespace, write: Write) -> int:
    torch.set_flush_denormal(True)
    keep_freed_memory()
    device = torch.device(options.device)
    cores, size = torch.get_num_threads(), LARGE if options.large else FULL
    if half_precision(device) != "bfloat16":
        write(f"{NO_BFLOAT16}: its rows are left out\n")
    is_good = agree(size, device, write)
    full = train(size, device, write)
    own = [name for name in (OWN, HALF) if name in full]
    for name in (*own, PEER):
        write(f"{size.preset}, memory of a step, {name}: {memory_of(name, size, device):,.0f} MB\n")
    speak(size, device, write)
    torch.set_num_threads(DEMO.hparams.cpu_threads or cores)
    is_good &= agree(DEMO, device, write)
    train(DEMO, device, write)
    write("ok\n" if is_good else "the checks DISAGREE\n")
    ratios = ", ".join(f"{name} {times_as_fast(full, name, PEER):.2f} × torchaudio's float32" for name in own)
    write(f"full size: {ratios}\n")
    return 0 if is_good else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast Tacotron 2 trains and speaks.")
    parser.add_argument("--large", action="store_true", help="32 utterances of 800 frames, as for a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse(), sys.stdout.write))
