"""How fast does full-size GlowTTS train and speak?

`python -m benchmarks flow_speed` takes two minutes on two quiet cores: a training step of 8 utterances of 100 symbols
and 500 frames (forward, backward, update) in float32 and bfloat16, and free-running synthesis without a vocoder; beside
them the same model computed plainly, with torch's convolutions, dropout and RAdam, since machines and hours are not
alike: the two take turns, and that one is to be beaten by half. A public implementation did 3,060 frames/s and 24 to 28
times real time on two quiet cores of another hour. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed.interleave import in_turns, times_as_fast
from corpus.batches import Batch
from hparams import HParams, build_hparams
from models.glow_tts import flows, text_encoder
from models.glow_tts.model import GlowTTS
from recipes import RECIPES
from training.knobs import Knobs
from training.step.learner import Learner
from training.step.precision import NO_BFLOAT16, half_precision

ITEMS, SYMBOLS, FRAMES, ALPHABET = 8, 100, 500, 148
PUBLIC, WANTED_RATIO, WANTED_REAL_TIME = 3060.0, 1.5, 40.0
PLAIN = "plain"
STEPS, UTTERANCES = 9, 15

Write = Callable[[str], object]


def random_batch(hparams: HParams) -> Batch:
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(1, ALPHABET, (ITEMS, SYMBOLS), generator=generator)
    mels = torch.randn(ITEMS, hparams.n_mel_channels, FRAMES, generator=generator)
    lengths = torch.full((ITEMS,), SYMBOLS), torch.full((ITEMS,), FRAMES)
    return Batch(tuple(map(str, range(ITEMS))), text, lengths[0], mels, lengths[1])


def plain_convolution(x: Tensor, layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv1d)
    beyond = layer.dilation[0] * (layer.kernel_size[0] - 1)
    padded = F.pad(x.transpose(1, 2), (beyond // 2, beyond - beyond // 2))
    return F.conv1d(padded, layer.weight, layer.bias, dilation=layer.dilation).transpose(1, 2)


def plain_dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    return F.dropout(x, p, training)


@contextmanager
def plainly() -> Iterator[None]:
    """The same model by torch's own operations."""
    with ExitStack() as patches:
        for module in (flows, text_encoder):
            patches.enter_context(patch.object(module, "convolve", plain_convolution))
            patches.enter_context(patch.object(module, "dropout", plain_dropout))
        yield


def training(precision: str, *, plain: bool = False) -> Callable[[], object]:
    """A training step."""
    hparams = build_hparams(RECIPES["glow_tts"].presets["full"], {"precision": precision})
    learner, batch = Learner(GlowTTS(hparams, ALPHABET), hparams, torch.device("cpu")), random_batch(hparams)
    if plain:
        learner.optimizer = torch.optim.RAdam(learner.model.parameters(), hparams.learning_rate)
    knobs = Knobs.from_hparams(hparams).for_losses(1, hparams)
    return lambda: learner.update([batch], knobs, clip_norm=1.0, measure=False)


def speaking(*, plain: bool = False) -> tuple[Callable[[], object], float]:
    """Saying an utterance, and how many seconds of speech that are: about five."""
    hparams = build_hparams(RECIPES["glow_tts"].presets["full"])
    model = GlowTTS(hparams, ALPHABET).eval()
    if not plain:
        model.fold()
    bias = model.encoder.duration_predictor.proj.bias
    assert bias is not None
    torch.nn.init.constant_(bias, 1.6)
    text, lengths = random_batch(hparams).text[:1], torch.tensor([SYMBOLS])
    spoken = int(model.synthesize(text, lengths).mel_lengths) * hparams.hop_length / hparams.sampling_rate
    return torch.inference_mode()(lambda: model.synthesize(text, lengths)), spoken  # as the program does


def plain_one_plainly(works: dict[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    def work() -> object:
        with plainly():
            return works[PLAIN]()

    return works | {PLAIN: work}


def main(write: Write) -> int:
    torch.set_flush_denormal(True)
    steps = {PLAIN: training("float32", plain=True), "float32": training("float32")}
    if half_precision(torch.device("cpu")) == "bfloat16":
        steps["bfloat16"] = training("bfloat16")
    else:
        write(f"{NO_BFLOAT16}: its row is left out\n")
    taken = in_turns(plain_one_plainly(steps), rounds=STEPS, warm_up=2)
    for name, seconds in taken.items():
        fast, ratio = ITEMS * FRAMES / statistics.median(seconds), times_as_fast(taken, name, PLAIN)
        write(f"a training step, {name}: {fast:,.0f} frames/s, {ratio:.2f} × plain, {fast / PUBLIC:.2f} × public\n")
    (plain, length), (own, own_length) = speaking(plain=True), speaking()
    said = in_turns(plain_one_plainly({PLAIN: plain, "folded": own}), rounds=UTTERANCES, warm_up=2)
    spoken = own_length / statistics.median(said["folded"])
    write(f"synthesis: {spoken:.0f} × real time, plain {length / statistics.median(said[PLAIN]):.0f}\n")
    is_reached = times_as_fast(taken, "float32", PLAIN) >= WANTED_RATIO and spoken >= WANTED_REAL_TIME
    write(f"{'ok' if is_reached else 'MISSED'}\n")
    return 0 if is_reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.stdout.write))
