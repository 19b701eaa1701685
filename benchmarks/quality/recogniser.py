"""A small speech recogniser that measures how intelligible a voice is; it has only ever heard espeak-ng itself.

`python -m benchmarks recogniser` trains it (some minutes on two cores) and says how well it understands espeak-ng.
It hears words in random order, so it knows spellings but no grammar that could mend what a voice slurred.
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
from corpus.text.espeak import synthesize
from files import atomic_replacement
from hparams import HParams
from models.vocoders.griffin_lim import griffin_lim

LANGUAGE = "en-us"
BLANK, LETTERS = "_", "_ 'abcdefghijklmnopqrstuvwxyz"  # the blank of CTC has index 0
HPARAMS = HParams()
ROUGH_HPARAMS = HParams(griffin_lim_iterations=16)  # a quarter of the time, and the artefacts of Griffin-Lim in plenty
LISTED_WORDS = 20_000
FREQUENCY_EXPONENT = 0.75  # below 1: content words are heard more often than in running text
SHORTEST, LONGEST = 3, 9  # words in a sentence
DYNAMIC_RANGE = 7.0  # natural-log units (60 dB) below the loudest; what is quieter is silence
_WORD = re.compile(r"[ai]|(?=.*[aeiouy])[a-z]{2,}('(s|t|m|d|re|ve|ll))?")


@dataclass(frozen=True)
class Recipe:
    """What a trained recogniser depends on; a cached one of another recipe is trained anew."""

    version: int = 1
    sentences: int = 5_000
    epochs: int = 14
    batch_size: int = 24
    learning_rate: float = 2e-3
    width: int = 192
    seed: int = 1


class Recogniser(nn.Module):
    """Log-mels → two strided convolutions → bidirectional LSTM at a quarter of the frame rate → letters by CTC."""

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
        self.letters = nn.Linear(2 * width, 2 * len(LETTERS))  # of two moments a frame: letters may follow so fast

    def forward(self, mels: Tensor) -> Tensor:
        """Mels as `hear` makes them [batch, n_mel_channels, T] → log-probabilities [batch, 2 * ⌈T / 4⌉, letters]."""
        frames, _ = self.lstm(self.convolutions(mels).transpose(1, 2))
        return self.letters(frames).reshape(len(mels), -1, len(LETTERS)).log_softmax(dim=-1)

    @torch.inference_mode()
    def transcribe(self, waves: Sequence[np.ndarray], sampling_rate: int) -> list[str]:
        """What is said in each mono float wave [samples]: the likeliest letter of every frame, without a language."""
        self.eval()
        resampled = (resample(wave, source_rate=sampling_rate, target_rate=HPARAMS.sampling_rate) for wave in waves)
        mels = (hear(torch.from_numpy(wave.astype(np.float32))) for wave in resampled)
        return [read_letters(self(mel[None])[0].argmax(dim=-1).tolist()) for mel in mels]


def hear(wave: Tensor) -> Tensor:
    """The log-mel [n_mel_channels, frames] of a wave [samples] in [0, 1]: 1 is its loudest place, 0 silence."""
    mel = MelFrontend(HPARAMS).mel(wave)
    return ((mel - mel.max()) / DYNAMIC_RANGE + 1).clamp(min=0)


def read_letters(path: list[int]) -> str:
    """The text of a CTC path: repeated letters are one, blanks are none."""
    changes = [letter for place, letter in enumerate(path) if place == 0 or letter != path[place - 1]]
    return " ".join("".join(LETTERS[letter] for letter in changes).replace(BLANK, "").split())


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits that turn the hypotheses into the references, over the references' letters and spaces; may exceed 1."""
    pairs = [(_plain(said), _plain(wanted)) for said, wanted in zip(hypotheses, references, strict=True)]
    return sum(_edits(*pair) for pair in pairs) / sum(len(wanted) for _, wanted in pairs)


def _plain(text: str) -> str:
    """Lower-case letters and single spaces only."""
    return " ".join(re.sub(r"[^a-z\s]", "", text.lower()).split())


def _edits(one: str, other: str) -> int:
    """The Levenshtein distance: insertions, deletions and replacements of one character."""
    row = list(range(len(other) + 1))
    for deleted, letter in enumerate(one, start=1):
        previous, row = row, [deleted]
        for place, wanted in enumerate(other):
            row.append(min(previous[place] + (letter != wanted), previous[place + 1] + 1, row[place] + 1))
    return row[-1]


def espeak_wave(text: str) -> np.ndarray:
    """espeak-ng's recording of a text, float32 [samples] at the sampling rate of HPARAMS."""
    speech = synthesize(text, LANGUAGE)
    wave = speech.audio.astype(np.float32) / 32768
    return resample(wave, source_rate=speech.sampling_rate, target_rate=HPARAMS.sampling_rate)


def copy_synthesis(wave: np.ndarray, hparams: HParams = HPARAMS) -> np.ndarray:
    """A wave [samples] through mel and Griffin-Lim: what a voice without any fault would sound like."""
    return griffin_lim(MelFrontend(hparams).mel(torch.from_numpy(wave)), hparams).numpy()


def random_sentences(count: int, seed: int) -> list[str]:
    """Words by their frequency in English, in random order."""
    import wordfreq

    by = random.Random(seed)
    words = [word for word in wordfreq.top_n_list("en", LISTED_WORDS) if _WORD.fullmatch(word)]
    weights = [wordfreq.word_frequency(word, "en") ** FREQUENCY_EXPONENT for word in words]
    return [" ".join(by.choices(words, weights, k=by.randint(SHORTEST, LONGEST))) + "." for _ in range(count)]


@dataclass(frozen=True)
class Example:
    """A mel as `hear` makes it, in half precision [n_mel_channels, frames], and the letters [n] that are said in it."""

    mel: Tensor
    letters: Tensor


def record(sentences: Sequence[str]) -> list[Example]:
    """espeak-ng speaks the sentences; every second recording passes through Griffin-Lim."""

    def example(numbered: tuple[int, str]) -> Example:
        number, sentence = numbered
        wave = espeak_wave(sentence)
        wave = copy_synthesis(wave, ROUGH_HPARAMS) if number % 2 else wave
        letters = [LETTERS.index(letter) for letter in sentence.lower() if letter in LETTERS]
        return Example(hear(torch.from_numpy(wave)).half(), torch.tensor(letters))

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(example, enumerate(sentences)))


def augment(mel: Tensor, by: random.Random) -> Tensor:
    """A mel [n_mel_channels, frames] said faster or slower, louder or softer, in noise, smeared, with gaps."""
    mel = functional.interpolate(mel[None], scale_factor=by.uniform(0.9, 1.1), mode="linear")[0]
    if by.random() < 0.3:
        mel = functional.avg_pool2d(mel[None], kernel_size=3, stride=1, padding=1)[0]
    noise = by.uniform(-0.2, 0.3) + 0.05 * torch.randn_like(mel)
    mel = torch.maximum(mel + by.uniform(-0.1, 0.1), noise).clamp(min=0)
    for axis, widest in ((0, 8), (0, 8), (1, 6), (1, 6)):
        width = by.randint(0, widest)
        mel.narrow(axis, by.randrange(mel.shape[axis] - width), width).zero_()
    return mel


def train(examples: Sequence[Example], recipe: Recipe) -> Recogniser:
    """A recogniser of the examples."""
    torch.manual_seed(recipe.seed)
    by = random.Random(recipe.seed)
    recogniser = Recogniser(recipe.width).train()
    optimizer = torch.optim.AdamW(recogniser.parameters(), recipe.learning_rate)
    steps = recipe.epochs * -(-len(examples) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.15)
    for _ in range(recipe.epochs):
        for batch in _batches(examples, recipe.batch_size, by=by):
            optimizer.zero_grad()
            ctc_loss(recogniser, [Example(augment(one.mel.float(), by), one.letters) for one in batch]).backward()
            nn.utils.clip_grad_norm_(recogniser.parameters(), max_norm=1.0)
            optimizer.step()
            schedule.step()
    return recogniser.eval()


def ctc_loss(recogniser: Recogniser, batch: Sequence[Example]) -> Tensor:
    """Nats a letter of not finding the letters of a batch, silence appended to the shorter mels."""
    lengths = torch.tensor([one.mel.shape[1] for one in batch])
    mels = torch.stack([functional.pad(one.mel, (0, int(lengths.max()) - one.mel.shape[1])) for one in batch])
    return functional.ctc_loss(
        recogniser(mels).transpose(0, 1),
        torch.cat([one.letters for one in batch]),
        2 * ((lengths + 3) // 4),  # no letter may wait for the padding: a recording that is heard alone has none
        torch.tensor([len(one.letters) for one in batch]),
    )


def _batches(examples: Sequence[Example], size: int, *, by: random.Random) -> Iterator[list[Example]]:
    """All examples once, those of a batch alike in length, the batches in random order."""
    shuffled = by.sample(examples, len(examples))
    shuffled.sort(key=lambda one: one.mel.shape[1] // 20)
    starts = list(range(0, len(shuffled), size))
    yield from (shuffled[start : start + size] for start in by.sample(starts, len(starts)))


def load_or_train(cache: Path, recipe: Recipe = Recipe()) -> Recogniser:  # noqa: B008 - it is frozen
    """The recogniser in `cache`, trained and saved there first if there is none of this recipe."""
    path = cache / "recogniser.pt"
    if path.is_file():
        saved = torch.load(path, weights_only=True)
        if saved["recipe"] == asdict(recipe):
            recogniser = Recogniser(recipe.width)
            recogniser.load_state_dict(saved["weights"])
            return recogniser.eval()
    recogniser = train(record(random_sentences(recipe.sentences, recipe.seed)), recipe)
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_replacement(path) as temporary:
        torch.save({"recipe": asdict(recipe), "weights": recogniser.state_dict()}, temporary)
    return recogniser


def main() -> None:
    """Train or load the recogniser and say what it makes of espeak-ng's own voice."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cache", type=Path, default=Path("logs/.cache/recogniser"), help="where it is kept")
    cache = parser.parse_args().cache
    start = time.monotonic()
    recogniser = load_or_train(cache)
    seconds = time.monotonic() - start
    originals = [espeak_wave(sentence) for sentence in ORDINARY_SENTENCES]
    heard = {"espeak-ng": originals, "copy synthesis": [copy_synthesis(wave) for wave in originals]}
    sys.stdout.write(f"trained or loaded in {seconds:.0f} s\n")
    for name, waves in heard.items():
        said = recogniser.transcribe(waves, HPARAMS.sampling_rate)
        rate = character_error_rate(said, ORDINARY_SENTENCES)
        sys.stdout.write(f"character error rate, {name:<15} {rate:6.1%}\n")


if __name__ == "__main__":
    main()
