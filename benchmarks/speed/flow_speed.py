"""Training and synthesis speed of full-size GlowTTS, beside the same model computed by torch's own operations.

`python -m benchmarks flow_speed` takes two minutes on two idle cores. It times a training step of 8 utterances of 100
symbols and 500 frames (forward, backward, update) in float32 and bfloat16, and free-running synthesis without vocoder.
The same model with torch's convolutions, dropout and RAdam is timed in turns, because machines and hours differ; ours
must be 1.5 times as fast. A public implementation reached 3,060 frames/s and 24 to 28 times real time on two idle cores
at another hour. Exits 1 when a requirement is missed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reporting import Write, conclude
from benchmarks.speed.interleave import median_speedup, time_interleaved
from corpus.batches import Batch
from hparams import HParams, build_hparams
from models.glow_tts import flows, text_encoder
from models.glow_tts.model import GlowTTS
from recipes import RECIPES
from training.knobs import Knobs
from training.step.learner import Learner
from training.step.precision import NO_BFLOAT16, half_precision

N_ITEMS, N_SYMBOLS, N_FRAMES, ALPHABET_SIZE = 8, 100, 500, 148
PUBLIC_FRAMES_PER_SECOND, MIN_SPEEDUP, MIN_REAL_TIME_FACTOR = 3060.0, 1.5, 40.0
PLAIN = "plain"
STEP_ROUNDS, SYNTHESIS_ROUNDS = 9, 15


def random_batch(hparams: HParams) -> Batch:
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(1, ALPHABET_SIZE, (N_ITEMS, N_SYMBOLS), generator=generator)
    mels = torch.randn(N_ITEMS, hparams.n_mel_channels, N_FRAMES, generator=generator)
    lengths = torch.full((N_ITEMS,), N_SYMBOLS), torch.full((N_ITEMS,), N_FRAMES)
    return Batch(tuple(map(str, range(N_ITEMS))), text, lengths[0], mels, lengths[1])


def plain_convolution(x: Tensor, layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv1d)
    padding = layer.dilation[0] * (layer.kernel_size[0] - 1)
    padded = F.pad(x.transpose(1, 2), (padding // 2, padding - padding // 2))
    return F.conv1d(padded, layer.weight, layer.bias, dilation=layer.dilation).transpose(1, 2)


PLAIN_OPERATIONS: dict[str, Any] = {
    "convolve": plain_convolution,
    "dropout": lambda x, p, *, training: F.dropout(x, p, training),
}


def training_step(precision: str, *, plain: bool = False) -> Callable[[], object]:
    """Make a function that runs one training step."""
    hparams = build_hparams(RECIPES["glow_tts"].presets["full"], {"precision": precision})
    learner = Learner(GlowTTS(hparams, ALPHABET_SIZE), hparams, torch.device("cpu"))
    batch, knobs = random_batch(hparams), Knobs.from_hparams(hparams).for_losses(1, hparams)
    if plain:
        learner.optimizer = torch.optim.RAdam(learner.model.parameters(), hparams.learning_rate)
    return lambda: learner.update([batch], knobs, clip_norm=1.0, measure=False)


def synthesis(*, plain: bool = False) -> tuple[Callable[[], object], float]:
    """Make a function that synthesizes an utterance; return it and the seconds of speech, about five."""
    hparams = build_hparams(RECIPES["glow_tts"].presets["full"])
    model = GlowTTS(hparams, ALPHABET_SIZE).eval()
    if not plain:
        model.fold()
    bias = model.encoder.duration_predictor.proj.bias
    assert bias is not None
    torch.nn.init.constant_(bias, 1.6)
    text, lengths = random_batch(hparams).text[:1], torch.tensor([N_SYMBOLS])
    seconds = int(model.synthesize(text, lengths).mel_lengths) * hparams.hop_length / hparams.sampling_rate
    return torch.inference_mode()(lambda: model.synthesize(text, lengths)), seconds  # inference mode as in the program


def with_plain_operations(functions: dict[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """Have the function named `plain` run with torch's convolutions and dropout in place of the model's."""

    def run_plain() -> object:
        with patch.multiple(flows, **PLAIN_OPERATIONS), patch.multiple(text_encoder, **PLAIN_OPERATIONS):
            return functions[PLAIN]()

    return functions | {PLAIN: run_plain}


def measure_training(write: Write) -> float:
    """Print the speed of a training step; return the speedup in float32."""
    steps = {PLAIN: training_step("float32", plain=True), "float32": training_step("float32")}
    if half_precision(torch.device("cpu")) == "bfloat16":
        steps["bfloat16"] = training_step("bfloat16")
    else:
        write(f"{NO_BFLOAT16}: its row is left out\n")
    times = time_interleaved(with_plain_operations(steps), rounds=STEP_ROUNDS, warm_up=2)
    for name, seconds in times.items():
        speed = N_ITEMS * N_FRAMES / statistics.median(seconds)
        ratios = f"{median_speedup(times, name, PLAIN):.2f} × plain, {speed / PUBLIC_FRAMES_PER_SECOND:.2f} × public"
        write(f"a training step, {name}: {speed:,.0f} frames/s, {ratios}\n")
    return median_speedup(times, "float32", PLAIN)


def measure_synthesis(write: Write) -> float:
    """Print the speed of synthesis; return it as a multiple of real time."""
    (plain, plain_length), (own, own_length) = synthesis(plain=True), synthesis()
    functions = with_plain_operations({PLAIN: plain, "folded": own})
    times = time_interleaved(functions, rounds=SYNTHESIS_ROUNDS, warm_up=2)
    factor = own_length / statistics.median(times["folded"])
    plain_factor = plain_length / statistics.median(times[PLAIN])
    write(f"synthesis: {factor:.0f} × real time, plain {plain_factor:.0f}\n")
    return factor


def main(write: Write) -> int:
    torch.set_flush_denormal(True)
    speedup, real_time_factor = measure_training(write), measure_synthesis(write)
    return conclude(write, is_met=speedup >= MIN_SPEEDUP and real_time_factor >= MIN_REAL_TIME_FACTOR)


if __name__ == "__main__":
    sys.exit(main(sys.stdout.write))
