"""Speed beside other busy programs of every path that uses compiled kernels: training and speaking, both models.

`python -m benchmarks busy_machine` takes about ten minutes on two cores. Each path is timed on the quiet machine, then
beside one and two processes that never wait, in turns with the same model by plain torch operations. A run that was
begun on a quiet machine has a thread for each core; one that begins beside the load has as many as cores are free;
Tacotron 2's demo always has one.
Beside one process at least 40 % of the quiet speed must remain, beside two 25 %, and never less than plain operations
reach under the same load. Exits 1 when a requirement is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch

from benchmarks.reporting import Write, conclude
from benchmarks.speed.speed import ALPHABET_SIZE, DEMO, FULL, Workload
from benchmarks.speed.tacotron2_peers import disable_stopping
from hparams import HParams, build_hparams
from models import build_model
from models.glow_tts.model import GlowTTS
from models.kernels.choice import plain_operations
from models.tacotron2.model import Tacotron2
from recipes import RECIPES
from training.knobs import Knobs
from training.step.allocator import keep_freed_memory
from training.step.learner import Learner
from training.step.threads import choose_threads

MIN_SHARES = {1: 0.4, 2: 0.25}
"""Busy processes → least share of the quiet speed."""
NOISE = 0.1
"""Share by which two measurements of the same speed may differ."""
CPU = torch.device("cpu")
BUSY_PROGRAM = "while True: pass"


@dataclass(frozen=True)
class Path:
    """A function, the mel frames that one call trains on or speaks, and the threads of its preset (0: free cores)."""

    function: Callable[[], object]
    n_frames: int
    n_threads: int = 0


def training(model: str, workload: Workload) -> Path:
    hparams = build_hparams(RECIPES[model].presets[workload.preset], {"model": model, "precision": "float32"})
    learner = Learner(build_model(hparams, ALPHABET_SIZE), hparams, CPU)
    batch, knobs = workload.batch(CPU), Knobs.from_hparams(hparams).for_losses(1, hparams)
    return Path(
        lambda: learner.update([batch], knobs, clip_norm=1.0, measure=False),
        int(batch.mel_lengths.sum()),
        hparams.cpu_threads,
    )


def tacotron2_speech(n_items: int) -> Path:
    model = Tacotron2(FULL.hparams, ALPHABET_SIZE).eval()
    disable_stopping(model)
    return _speech(model, n_items)


def glow_tts_speech() -> Path:
    hparams: HParams = build_hparams(RECIPES["glow_tts"].presets["full"])
    model = GlowTTS(hparams, ALPHABET_SIZE).eval()
    model.fold()
    bias = model.encoder.duration_predictor.proj.bias
    assert bias is not None
    torch.nn.init.constant_(bias, 1.6)  # about five frames a symbol
    return _speech(model, 1)


def _speech(model: Tacotron2 | GlowTTS, n_items: int) -> Path:
    batch = replace(FULL, n_items=n_items).batch(CPU)
    with torch.inference_mode():
        n_frames = int(model.synthesize(batch.text, batch.text_lengths).mel_lengths.sum())
    return Path(torch.inference_mode()(lambda: model.synthesize(batch.text, batch.text_lengths)), n_frames)


PATHS: dict[str, Callable[[], Path]] = {
    "tacotron2_training_demo": lambda: training("tacotron2", DEMO),
    "tacotron2_training_full": lambda: training("tacotron2", FULL),
    "glow_tts_training_demo": lambda: training("glow_tts", DEMO),
    "glow_tts_training_full": lambda: training("glow_tts", FULL),
    "tacotron2_speaking_1": lambda: tacotron2_speech(1),
    "tacotron2_speaking_16": lambda: tacotron2_speech(16),
    "glow_tts_speaking": glow_tts_speech,
}


@contextmanager
def busy_processes(n: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_PROGRAM]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@dataclass
class Speed:
    """Frames a second over several calls."""

    n_frames: int
    seconds: float = 0.0
    n_calls: int = 0

    @property
    def value(self) -> float:
        return self.n_frames * self.n_calls / self.seconds

    def add_call(self, function: Callable[[], object]) -> None:
        started = time.perf_counter()
        function()
        self.seconds += time.perf_counter() - started
        self.n_calls += 1


def measure(path: Path, seconds: float) -> tuple[float, float]:
    """Frames a second by compiled kernels and by plain operations, in turns for at least so many seconds each."""
    own, plain = Speed(path.n_frames), Speed(path.n_frames)
    contexts = (own, nullcontext), (plain, plain_operations)
    while min(own.seconds, plain.seconds) < seconds:
        for speed, context in contexts:
            with context():
                if speed.seconds < seconds:
                    speed.add_call(path.function)
    return own.value, plain.value


def measure_path(name: str, seconds: float, write: Write) -> bool:
    """Print a line for each load; return whether the requirements are met."""
    path, n_cores, is_met = PATHS[name](), torch.get_num_threads(), True
    torch.set_num_threads(path.n_threads or n_cores)
    with ExitStack() as stack:
        for context in (nullcontext, plain_operations):  # compile, and fill caches
            with context():
                path.function()
        quiet, plain = measure(path, seconds)
        write(f"{name:<26}quiet    {quiet:>9,.0f} frames/s        plain {plain:>8,.0f}\n")
        for n_busy in (1, 2):
            stack.enter_context(busy_processes(1))
            for begun in ("before", "beside"):
                n_free = n_cores if begun == "before" else choose_threads()[0]
                torch.set_num_threads(path.n_threads or n_free)
                own, plain = measure(path, seconds)
                is_enough = own >= MIN_SHARES[n_busy] * quiet and own >= (1 - NOISE) * plain
                is_met &= is_enough
                mark = "" if is_enough else "  MISSED"
                speeds = f"{own:>9,.0f} frames/s {100 * own / quiet:>3.0f} %  plain {plain:>8,.0f}"
                write(f"{name:<26}{n_busy} busy   {speeds}  {torch.get_num_threads()} threads, begun {begun}{mark}\n")
    torch.set_num_threads(n_cores)
    return is_met


def main(options: argparse.Namespace, write: Write) -> int:
    torch.set_flush_denormal(True)
    keep_freed_memory()
    results = [measure_path(name, options.seconds, write) for name in options.paths]
    return conclude(write, is_met=all(results))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS), metavar="PATH")
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each measurement")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse(), sys.stdout.write))
