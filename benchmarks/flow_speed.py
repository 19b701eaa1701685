"""How fast does full-size GlowTTS train and speak?

`python -m benchmarks.flow_speed` takes two minutes on two quiet cores: a training step of 8 utterances of 100 symbols
and 500 frames (forward, backward, update) in float32 and bfloat16, and free-running synthesis without a vocoder. The
public implementation does 3,060 frames/s and 24 to 28 times real time there; exits 1 when a bar is missed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from corpus.batches import Batch
from hparams import HParams, build_hparams
from models.glow_tts.model import GlowTTS
from presets import PRESETS
from training.knobs import Knobs
from training.update import Learner

ITEMS, SYMBOLS, FRAMES, ALPHABET = 8, 100, 500, 148
PUBLIC_FRAMES_PER_SECOND, WANTED_RATIO, WANTED_REAL_TIME = 3060.0, 1.5, 40.0
REPEATS = 7

Write = Callable[[str], object]


def random_batch(hparams: HParams) -> Batch:
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(1, ALPHABET, (ITEMS, SYMBOLS), generator=generator)
    mels = torch.randn(ITEMS, hparams.n_mel_channels, FRAMES, generator=generator)
    lengths = torch.full((ITEMS,), SYMBOLS), torch.full((ITEMS,), FRAMES)
    return Batch(tuple(map(str, range(ITEMS))), text, lengths[0], mels, lengths[1])


def frames_per_second(precision: str) -> float:
    hparams = build_hparams(PRESETS["glow_tts"]["full"], {"precision": precision})
    learner, batch = Learner(GlowTTS(hparams, ALPHABET), hparams, torch.device("cpu")), random_batch(hparams)
    knobs = Knobs.from_hparams(hparams).for_losses(1, hparams)
    taken = seconds(lambda: learner.update([batch], knobs, clip=1.0, measure=False))
    return ITEMS * FRAMES / taken


def times_real_time() -> float:
    """With durations that make an utterance of about five seconds."""
    hparams = build_hparams(PRESETS["glow_tts"]["full"])
    model = GlowTTS(hparams, ALPHABET).eval()
    bias = model.encoder.duration_predictor.proj.bias
    assert bias is not None
    torch.nn.init.constant_(bias, 1.6)
    text, lengths = random_batch(hparams).text[:1], torch.tensor([SYMBOLS])
    spoken = int(model.synthesize(text, lengths).mel_lengths) * hparams.hop_length / hparams.sampling_rate
    return spoken / seconds(lambda: model.synthesize(text, lengths))


def seconds(work: Callable[[], object]) -> float:
    """Median of several; the first two pay for what is done once."""
    taken = []
    for _ in range(2 + REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def main(write: Write) -> int:
    torch.set_flush_denormal(True)
    float32, bfloat16, spoken = frames_per_second("float32"), frames_per_second("bfloat16"), times_real_time()
    for name, own in (("float32", float32), ("bfloat16", bfloat16)):
        write(
            f"a training step in {name}: {own:,.0f} frames/s, {own / PUBLIC_FRAMES_PER_SECOND:.2f} × the public one\n"
        )
    write(f"synthesis: {spoken:.0f} × real time (wanted: {WANTED_REAL_TIME:.0f})\n")
    is_reached = float32 >= WANTED_RATIO * PUBLIC_FRAMES_PER_SECOND and spoken >= WANTED_REAL_TIME
    write(f"{'ok' if is_reached else 'MISSED'}\n")
    return 0 if is_reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.stdout.write))
