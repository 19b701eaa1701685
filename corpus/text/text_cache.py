"""Transcripts in words or phonemes, worked out once: numbers, abbreviations and espeak-ng take a millisecond each."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from corpus.text.frontend import TextFrontend
from files import ChecksummedIndex

VERSION = 1  # goes up when the same text becomes other words
AT_ONCE = 500
WORTH_PROCESSES = 5_000

Progress = Callable[[int, int], None]


def fill_text_cache(
    frontend: TextFrontend, texts: Iterable[str], folder: Path, *, workers: int, progress: Progress | None = None
) -> None:
    """From now on the frontend knows what these become; what is new is written down, a few hundred at a time."""
    index = ChecksummedIndex(folder / f"texts-{_digest(f'{VERSION}|{frontend.language}|{frontend.alphabet}')}.txt")
    keys = {text: _digest(text) for text in dict.fromkeys(texts)}
    missing = [text for text, key in keys.items() if index.get(key) is None]
    done = 0
    for some, spoken in _normalised(frontend, missing, workers):
        index.add({keys[text]: words for text, words in zip(some, spoken, strict=True)})
        done += len(some)
        if progress is not None:
            progress(done, len(missing))
    frontend.normalized_texts.update((text, index.get(key)) for text, key in keys.items())


def _normalised(
    frontend: TextFrontend, texts: Sequence[str], workers: int
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """By several processes where it is worth starting them."""
    remaining = iter(texts)
    stretches = list(iter(lambda: list(islice(remaining, AT_ONCE)), []))
    if len(texts) < WORTH_PROCESSES or workers == 1:
        for some in stretches:
            yield some, _all_normalised(frontend, some)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from zip(stretches, pool.map(_all_normalised, [frontend] * len(stretches), stretches), strict=True)


def _all_normalised(frontend: TextFrontend, texts: Sequence[str]) -> list[str]:
    return [frontend.normalize(text) for text in texts]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
