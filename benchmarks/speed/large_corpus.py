"""How long does training wait for a corpus of 100,000 utterances that was prepared before, and what does it take?

`python -m benchmarks large_corpus` takes two minutes and two gigabytes of disk at most. The corpus is simulated: many
names for few recordings, with the indices that a first preparation leaves. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

from commands.options import TrainOptions
from commands.run.corpus import prepare_corpus
from corpus.batches import epoch_order
from corpus.mel_cache import MelCache, file_key
from corpus.text.frontend import text_frontend
from corpus.text.text_cache import fill_text_cache
from corpus.utterances import read_corpus
from files import ChecksummedIndex
from hparams import HParams

UTTERANCES, RECORDINGS, RATE = 100_000, 200, 22050
WANTED_SECONDS, BATCHES = 20.0, 200
WORDS = ("kettle", "window", "garden", "river", "stone", "letter", "morning", "silver", "table", "quiet", "winter")

Write = Callable[[str], object]


@dataclass(frozen=True)
class Found:
    """By a process of its own, which begins with importing everything."""

    start_seconds: float
    megabytes: float
    bytes_an_utterance: float
    shuffle_milliseconds: float
    n_batches: int
    batch_milliseconds: float


def make_corpus(folder: Path) -> None:
    """Recordings of two to six seconds under many names; each transcript differs."""
    rng, wavs = np.random.default_rng(1), folder / "wavs"
    wavs.mkdir(parents=True)
    for i in range(RECORDINGS):
        wave = 0.1 * rng.standard_normal(int(RATE * rng.uniform(2, 6)))
        soundfile.write(wavs / f"u{i:06d}.wav", wave, RATE)
    for i in range(RECORDINGS, UTTERANCES):
        os.link(wavs / f"u{i % RECORDINGS:06d}.wav", wavs / f"u{i:06d}.wav")
    texts = [" ".join(rng.choice(WORDS, 10)) for _ in range(UTTERANCES)]
    rows = [f"u{i:06d}|{text}|{text}" for i, text in enumerate(texts)]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")


def options_for(folder: Path) -> TrainOptions:
    return TrainOptions(data=str(folder / "corpus"), data_format="ljspeech", output=folder / "logs")


def prepare_first(folder: Path) -> None:
    """The mels of the few recordings; the many names are written into the index."""
    hparams, cache_folder = HParams(), folder / "logs" / ".cache"
    corpus = read_corpus(str(folder / "corpus"), "ljspeech")
    cache = MelCache(cache_folder / "mels", hparams)
    cache.fill(corpus.utterances[:RECORDINGS], 2)
    index = ChecksummedIndex(next((cache_folder / "mels").glob("index-*.txt")))
    known = [index.get(file_key(u.audio_path)) for u in corpus.utterances[:RECORDINGS]]
    index.add({file_key(u.audio_path): known[i % RECORDINGS] for i, u in enumerate(corpus.utterances)})
    frontend = text_frontend(hparams)
    fill_text_cache(frontend, [u.text for u in corpus.utterances], cache_folder, workers=2)


def measure(folder: Path) -> Found:
    """A start: until the first batch is there."""
    began, hparams = time.perf_counter(), HParams()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    corpus = prepare_corpus(options_for(folder), hparams, Console(quiet=True))
    data = corpus.training_data(hparams, ())
    batches = data.train.epoch(0)
    next(batches)
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    order = epoch_order(corpus.train, hparams, 1)
    shuffling = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    each = (time.perf_counter() - began) / BATCHES
    return Found(seconds, most / 1e3, 1e3 * (most - before) / UTTERANCES, 1e3 * shuffling, len(order), 1e3 * each)


def main(write: Write) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_corpus(folder / "corpus")
        prepare_first(folder)
        command = [sys.executable, "-m", "benchmarks.speed.large_corpus", "--measure", str(folder)]
        began = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        whole = time.perf_counter() - began
        found = Found(**json.loads(said))
    write(f"start of {UTTERANCES:,} utterances: {found.start_seconds:.1f} s (wanted: below {WANTED_SECONDS:g} s)\n")
    write(f"the process as a whole, with imports and {BATCHES} batches: {whole:.1f} s\n")
    write(f"memory: {found.megabytes:,.0f} MB at most, {found.bytes_an_utterance:,.0f} bytes an utterance\n")
    per_batch = 1e3 * found.shuffle_milliseconds / found.n_batches
    write(f"shuffling an epoch: {found.shuffle_milliseconds:.0f} ms, {per_batch:.0f} µs a batch\n")
    write(f"a batch of 32: {found.batch_milliseconds:.1f} ms\n")
    is_reached = found.start_seconds < WANTED_SECONDS
    write(f"{'ok' if is_reached else 'MISSED'}\n")
    return 0 if is_reached else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.stdout.write(json.dumps(asdict(measure(Path(sys.argv[2])))))
        sys.exit(0)
    sys.exit(main(sys.stdout.write))
