"""Alignments of a corpus on disk, keyed by its transcripts, recordings and settings."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from corpus.alignment import MAX_TRAINING_UTTERANCES, AlignedUtterance, FlatStartAligner
from corpus.batches import Example
from corpus.mel_cache import MelCache
from files import hex_digest, write_atomically

VERSION = 1  # increase it when the same corpus gets other alignments


def align_examples(
    examples: Sequence[Example],
    mels: MelCache,
    folder: Path,
    *,
    n_symbols: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Example]:
    """Return the examples with the frames of each symbol, from `folder` if they are there, else computed and stored."""
    content = [(e.utterance.id, e.utterance.speaker, e.symbol_ids, mels.content_digest(e.utterance)) for e in examples]
    path = folder / f"{hex_digest(repr((VERSION, mels.settings_digest, n_symbols, content)))}.npz"
    durations = _load(path, examples)
    if durations is None:
        durations = _align(examples, mels, n_symbols, progress)
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, frames=np.concatenate(durations).astype(np.uint16))
        write_atomically(path, buffer.getvalue())
    return [replace(e, durations=frames) for e, frames in zip(examples, durations, strict=True)]


def _align(
    examples: Sequence[Example], mels: MelCache, n_symbols: int, progress: Callable[[int, int], None]
) -> list[np.ndarray]:
    def prepared(example: Example) -> AlignedUtterance:
        return AlignedUtterance(mels.mel(example.utterance), np.array(example.symbol_ids), example.utterance.speaker)

    alignable = [e for e in examples if e.n_frames >= len(e.symbol_ids)]
    stride = -(-len(alignable) // MAX_TRAINING_UTTERANCES) or 1
    aligner = FlatStartAligner(n_symbols)
    aligner.fit([prepared(e) for e in alignable[::stride]], progress)
    return [aligner.align(prepared(e)) for e in examples]


def _load(path: Path, examples: Sequence[Example]) -> list[np.ndarray] | None:
    """Stored alignments; None if there are none or the file is damaged."""
    try:
        with open(path, "rb") as file, np.load(file) as stored:
            frames = stored["frames"].astype(np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    parts = np.split(frames, np.cumsum([len(e.symbol_ids) for e in examples])[:-1])
    fits = all(len(p) == len(e.symbol_ids) and p.sum() == e.n_frames for p, e in zip(parts, examples, strict=True))
    return parts if fits else None
