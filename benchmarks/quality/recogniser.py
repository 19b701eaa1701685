"""Small English speech recogniser that measures the intelligibility of voices; trained on espeak-ng alone.

`python -m benchmarks recogniser` trains it (some minutes on two cores) and prints its error rates on espeak-ng.
Its training sentences are words in random order: it learns spelling, but no grammar that could hide a voice's errors.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.quality.sentences import ORDINARY_SENTENCES
from corpus.audio.mel import MelFrontend
from corpus.audio.recording import resample
from corpus.demo.sentences import WORD_PATTERNS
from corpus.text.espeak import synthesize
from files import atomic_replacement
from hparams import HParams
from listening.comparison import edit_distance
from models.vocoders.griffin_lim import griffin_lim

LANGUAGE = "en-us"
BLANK, LETTERS = "_", "_ 'abcdefghijklmnopqrstuvwxyz"  # the blank of CTC has index 0
HPARAMS = HParams()
ROUGH_HPARAMS = HParams(griffin_lim_iterations=16)  # a quarter of the time, and more of Griffin-Lim's artefacts
N_WORDS = 20_000  # the most frequent ones
FREQUENCY_EXPONENT = 0.75  # below 1: content words occur more often than in running text
MIN_WORDS, MAX_WORDS = 3, 9  # in a sentence
DYNAMIC_RANGE = 7.0  # natural-log units (60 dB) below the maximum; everything quieter counts as silence


@dataclass(frozen=True)
class RecogniserRecipe:
    """Settings that a trained recogniser depends on; a cached one with other settings is trained again."""

    version: int = 1
    sentences: int = 5_000
    epochs: int = 14
    batch_size: int = 24
    learning_rate: float = 2e-3
    width: int = 192
    seed: int = 1


class Recogniser(nn.Module):
    """Log-mels → two strided convolutions → bidirectional LSTM at a quarter of the frame rate → letters (CTC)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(HPARAMS.n_mel_channels, width, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, kernel_size=5, stride=2, padding=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.letters = nn.Linear(2 * width, 2 * len(LETTERS))  # two outputs a frame, for letters in fast succession

    def forward(self, mels: Tensor) -> Tensor:
        """Normalised log-mels [batch, n_mel_channels, T] → log-probabilities [batch, 2 * ⌈T / 4⌉, letters]."""
        frames, _ = self.lstm(self.convolutions(mels).transpose(1, 2))
        return self.letters(frames).reshape(len(mels), -1, len(LETTERS)).log_softmax(dim=-1)

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[np.ndarray], sampling_rate: int) -> list[str]:
        """Transcribe mono float waves [samples]: the likeliest letter of every frame, without a language model."""
        self.eval()
        resampled = (resample(wave, source_rate=sampling_rate, target_rate=HPARAMS.sampling_rate) for wave in waves)
        mels = (normalized_log_mel(torch.from_numpy(wave.astype(np.float32))) for wave in resampled)
        return [decode_ctc_path(self(mel[None])[0].argmax(dim=-1).tolist()) for mel in mels]


def normalized_log_mel(wave: Tensor) -> Tensor:
    """Log-mel [n_mel_channels, frames] of a wave [samples], scaled to [0, 1]: 1 is its maximum, 0 silence."""
    mel = MelFrontend(HPARAMS).mel(wave)
    return ((mel - mel.max()) / DYNAMIC_RANGE + 1).clamp(min=0)


def decode_ctc_path(path: list[int]) -> str:
    """Text of a CTC path: repeated letters are merged, blanks dropped."""
    changes = [letter for i, letter in enumerate(path) if i == 0 or letter != path[i - 1]]
    return " ".join("".join(LETTERS[letter] for letter in changes).replace(BLANK, "").split())


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits from hypotheses to references, divided by the references' letters and spaces; may exceed 1."""
    pairs = [(_normalize(h), _normalize(r)) for h, r in zip(hypotheses, references, strict=True)]
    return sum(edit_distance(*pair) for pair in pairs) / sum(len(reference) for _, reference in pairs)


def _normalize(text: str) -> str:
    """Keep only lower-case letters and single spaces."""
    return " ".join(re.sub(r"[^a-z\s]", "", text.lower()).split())


def espeak_wave(text: str) -> np.ndarray:
    """Speech of espeak-ng, float32 [samples] at the sampling rate of HPARAMS."""
    speech = synthesize(text, LANGUAGE)
    wave = speech.audio.astype(np.float32) / 32768
    return resample(wave, source_rate=speech.sampling_rate, target_rate=HPARAMS.sampling_rate)


def copy_synthesis(wave: np.ndarray, hparams: HParams = HPARAMS) -> np.ndarray:
    """Convert a wave [samples] to a mel and back with Griffin-Lim: the best that a voice can sound."""
    return griffin_lim(MelFrontend(hparams).mel(torch.from_numpy(wave)), hparams).numpy()


def random_sentences(count: int, seed: int) -> list[str]:
    """Draw words by their frequency in English."""
    import wordfreq

    rng = random.Random(seed)
    words = [word for word in wordfreq.top_n_list("en", N_WORDS) if re.fullmatch(WORD_PATTERNS["en"], word)]
    weights = [wordfreq.word_frequency(word, "en") ** FREQUENCY_EXPONENT for word in words]
    return [" ".join(rng.choices(words, weights, k=rng.randint(MIN_WORDS, MAX_WORDS))) + "." for _ in range(count)]


@dataclass(frozen=True)
class LabelledMel:
    """Normalised log-mel in half precision [n_mel_channels, frames] and the letters [n] spoken in it."""

    mel: Tensor
    letters: Tensor


def synthesize_examples(sentences: Sequence[str]) -> list[LabelledMel]:
    """Speak the sentences with espeak-ng; every second recording passes through Griffin-Lim."""

    def make_example(numbered: tuple[int, str]) -> LabelledMel:
        number, sentence = numbered
        wave = espeak_wave(sentence)
        wave = copy_synthesis(wave, ROUGH_HPARAMS) if number % 2 else wave
        letters = [LETTERS.index(letter) for letter in sentence.lower() if letter in LETTERS]
        return LabelledMel(normalized_log_mel(torch.from_numpy(wave)).half(), torch.tensor(letters))

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(make_example, enumerate(sentences)))


def augment(mel: Tensor, rng: random.Random) -> Tensor:
    """Change a mel [n_mel_channels, frames] at random: tempo, loudness, noise, blur, gaps."""
    mel = functional.interpolate(mel[None], scale_factor=rng.uniform(0.9, 1.1), mode="linear")[0]
    if rng.random() < 0.3:
        mel = functional.avg_pool2d(mel[None], kernel_size=3, stride=1, padding=1)[0]
    noise = rng.uniform(-0.2, 0.3) + 0.05 * torch.randn_like(mel)
    mel = torch.maximum(mel + rng.uniform(-0.1, 0.1), noise).clamp(min=0)
    for axis, max_width in ((0, 8), (0, 8), (1, 6), (1, 6)):
        width = rng.randint(0, max_width)
        mel.narrow(axis, rng.randrange(mel.shape[axis] - width), width).zero_()
    return mel


def train(examples: Sequence[LabelledMel], recipe: RecogniserRecipe) -> Recogniser:
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    recogniser = Recogniser(recipe.width).train()
    optimizer = torch.optim.AdamW(recogniser.parameters(), recipe.learning_rate)
    steps = recipe.epochs * -(-len(examples) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.15)
    for _ in range(recipe.epochs):
        for batch in _batches(examples, recipe.batch_size, rng=rng):
            optimizer.zero_grad()
            augmented = [LabelledMel(augment(item.mel.float(), rng), item.letters) for item in batch]
            ctc_loss(recogniser, augmented).backward()
            nn.utils.clip_grad_norm_(recogniser.parameters(), max_norm=1.0)
            optimizer.step()
            schedule.step()
    return recogniser.eval()


def ctc_loss(recogniser: Recogniser, batch: Sequence[LabelledMel]) -> Tensor:
    """CTC loss in nats a letter, the mean over a batch; shorter mels are padded with silence."""
    lengths = torch.tensor([item.mel.shape[1] for item in batch])
    mels = torch.stack([functional.pad(item.mel, (0, int(lengths.max()) - item.mel.shape[1])) for item in batch])
    return functional.ctc_loss(
        recogniser(mels).transpose(0, 1),
        torch.cat([item.letters for item in batch]),
        2 * ((lengths + 3) // 4),  # no letter may lie in the padding: a recording transcribed alone has none
        torch.tensor([len(item.letters) for item in batch]),
    )


def _batches(examples: Sequence[LabelledMel], size: int, *, rng: random.Random) -> Iterator[list[LabelledMel]]:
    """Yield all examples once, those of a batch similar in length, the batches in random order."""
    shuffled = rng.sample(examples, len(examples))
    shuffled.sort(key=lambda item: item.mel.shape[1] // 20)
    starts = list(range(0, len(shuffled), size))
    yield from (shuffled[start : start + size] for start in rng.sample(starts, len(starts)))


def load_or_train(cache: Path, recipe: RecogniserRecipe = RecogniserRecipe()) -> Recogniser:  # noqa: B008 - frozen
    """Load the recogniser from `cache`; if there is none of this recipe, train and save it first."""
    path = cache / "recogniser.pt"
    if path.is_file():
        saved = torch.load(path, weights_only=True)
        if saved["recipe"] == asdict(recipe):
            recogniser = Recogniser(recipe.width)
            recogniser.load_state_dict(saved["weights"])
            return recogniser.eval()
    recogniser = train(synthesize_examples(random_sentences(recipe.sentences, recipe.seed)), recipe)
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_replacement(path) as temporary:
        torch.save({"recipe": asdict(recipe), "weights": recogniser.state_dict()}, temporary)
    return recogniser


def main() -> None:
    """Train or load the recogniser and print its error rates on espeak-ng's speech."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cache", type=Path, default=Path("logs/.cache/recogniser"), help="folder it is saved in")
    cache = parser.parse_args().cache
    start = time.monotonic()
    recogniser = load_or_train(cache)
    seconds = time.monotonic() - start
    originals = [espeak_wave(sentence) for sentence in ORDINARY_SENTENCES]
    speech = {"espeak-ng": originals, "copy synthesis": [copy_synthesis(wave) for wave in originals]}
    sys.stdout.write(f"trained or loaded in {seconds:.0f} s\n")
    for name, waves in speech.items():
        transcripts = recogniser.transcribe(waves, HPARAMS.sampling_rate)
        rate = character_error_rate(transcripts, ORDINARY_SENTENCES)
        sys.stdout.write(f"character error rate, {name:<15} {rate:6.1%}\n")


if __name__ == "__main__":
    main()
