"""Start-up time and memory of a training with 100,000 utterances that were prepared before.

`python -m benchmarks large_corpus` takes two minutes and two gigabytes of disk at most. The corpus is simulated: many
names for few recordings, with the index files of a first preparation. Exits 1 when the requirement is missed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

from benchmarks.reporting import Write, conclude
from commands.options import TrainOptions
from commands.run.corpus import prepare_corpus
from corpus.batches import epoch_order
from corpus.mel_cache import MelCache, file_key
from corpus.text.frontend import text_frontend
from corpus.text.text_cache import fill_text_cache
from corpus.utterances import read_corpus
from files import ChecksummedIndex
from hparams import HParams

N_UTTERANCES, N_RECORDINGS, SAMPLING_RATE = 100_000, 200, 22050
MAX_START_SECONDS, N_BATCHES = 20.0, 200
WORDS = ("kettle", "window", "garden", "river", "stone", "letter", "morning", "silver", "table", "quiet", "winter")


@dataclass(frozen=True)
class StartMeasurement:
    """Figures of a process of its own, as a fresh start has nothing imported or cached."""

    start_seconds: float
    megabytes: float
    bytes_an_utterance: float
    shuffle_milliseconds: float
    n_batches: int
    batch_milliseconds: float


def make_corpus(folder: Path) -> None:
    """Write recordings of two to six seconds and link them under many names, each with its own transcript."""
    rng, wavs = np.random.default_rng(1), folder / "wavs"
    wavs.mkdir(parents=True)
    for i in range(N_RECORDINGS):
        wave = 0.1 * rng.standard_normal(int(SAMPLING_RATE * rng.uniform(2, 6)))
        soundfile.write(wavs / f"u{i:06d}.wav", wave, SAMPLING_RATE)
    for i in range(N_RECORDINGS, N_UTTERANCES):
        os.link(wavs / f"u{i % N_RECORDINGS:06d}.wav", wavs / f"u{i:06d}.wav")
    texts = [" ".join(rng.choice(WORDS, 10)) for _ in range(N_UTTERANCES)]
    rows = [f"u{i:06d}|{text}|{text}" for i, text in enumerate(texts)]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")


def prepare_first(folder: Path) -> None:
    """Compute the mels of the few recordings and add all names to the index."""
    hparams, cache_folder = HParams(), folder / "logs" / ".cache"
    corpus = read_corpus(str(folder / "corpus"), "ljspeech")
    cache = MelCache(cache_folder / "mels", hparams)
    cache.fill(corpus.utterances[:N_RECORDINGS], 2)
    index = ChecksummedIndex(next((cache_folder / "mels").glob("index-*.txt")))
    entries = [index.get(file_key(u.audio_path)) for u in corpus.utterances[:N_RECORDINGS]]
    index.add({file_key(u.audio_path): entries[i % N_RECORDINGS] for i, u in enumerate(corpus.utterances)})
    frontend = text_frontend(hparams)
    fill_text_cache(frontend, [u.text for u in corpus.utterances], cache_folder, workers=2)


def measure(folder: Path) -> StartMeasurement:
    """Start as a training does, until the first batch is loaded; then shuffle an epoch and load more batches."""
    started, hparams = time.perf_counter(), HParams()
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = TrainOptions(data=str(folder / "corpus"), data_format="ljspeech", output=folder / "logs")
    corpus = prepare_corpus(options, hparams, Console(quiet=True))
    batches = corpus.training_data(hparams, ()).train.epoch(0)
    next(batches)
    start_seconds = time.perf_counter() - started
    max_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    order = epoch_order(corpus.train, hparams, 1)
    shuffle_seconds = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(N_BATCHES):
        next(batches)
    batch_seconds = (time.perf_counter() - started) / N_BATCHES
    return StartMeasurement(
        start_seconds=start_seconds,
        megabytes=max_memory / 1e3,
        bytes_an_utterance=1e3 * (max_memory - memory_before) / N_UTTERANCES,
        shuffle_milliseconds=1e3 * shuffle_seconds,
        n_batches=len(order),
        batch_milliseconds=1e3 * batch_seconds,
    )


def main(write: Write) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_corpus(folder / "corpus")
        prepare_first(folder)
        command = [sys.executable, "-m", "benchmarks.speed.large_corpus", "--measure", str(folder)]
        started = time.perf_counter()
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        process_seconds = time.perf_counter() - started
        start = StartMeasurement(**json.loads(output))
    write(f"start of {N_UTTERANCES:,} utterances: {start.start_seconds:.1f} s ")
    write(f"(required: below {MAX_START_SECONDS:g} s)\n")
    write(f"the process as a whole, with imports and {N_BATCHES} batches: {process_seconds:.1f} s\n")
    write(f"memory: {start.megabytes:,.0f} MB at most, {start.bytes_an_utterance:,.0f} bytes an utterance\n")
    per_batch = 1e3 * start.shuffle_milliseconds / start.n_batches
    write(f"shuffling an epoch: {start.shuffle_milliseconds:.0f} ms, {per_batch:.0f} µs a batch\n")
    write(f"a batch of 32: {start.batch_milliseconds:.1f} ms\n")
    return conclude(write, is_met=start.start_seconds < MAX_START_SECONDS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.stdout.write(json.dumps(asdict(measure(Path(sys.argv[2])))))
        sys.exit(0)
    sys.exit(main(sys.stdout.write))
