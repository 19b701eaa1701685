"""Cache of normalised transcripts on disk: numbers, abbreviations and espeak-ng take a millisecond per transcript."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from corpus.text.frontend import TextFrontend
from files import ChecksummedIndex, hex_digest

VERSION = 2  # increase it when the same text is normalised to other words
CHUNK_SIZE = 500  # texts normalised and stored at a time
MIN_TEXTS_FOR_PROCESSES = 5_000  # with fewer texts, starting processes costs more than it saves


def fill_text_cache(
    frontend: TextFrontend,
    texts: Iterable[str],
    folder: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Give the frontend the normalised form of each text, from the cache on disk; compute and store what is missing.

    `progress` is called with the numbers of texts computed so far and to compute in all.
    """
    settings = f"{VERSION}|{frontend.language}|{frontend.alphabet}"
    if frontend.lexicon.entries:
        settings += f"|{frontend.lexicon.entries}"
    index = ChecksummedIndex(folder / f"texts-{hex_digest(settings)}.txt")
    keys = {text: hex_digest(text) for text in dict.fromkeys(texts)}
    missing = [text for text, key in keys.items() if index.get(key) is None]
    n_done = 0
    for chunk, normalized in _normalize_chunks(frontend, missing, workers):
        index.add({keys[text]: words for text, words in zip(chunk, normalized, strict=True)})
        n_done += len(chunk)
        if progress is not None:
            progress(n_done, len(missing))
    frontend.normalized_texts.update((text, index.get(key)) for text, key in keys.items())


def _normalize_chunks(
    frontend: TextFrontend, texts: Sequence[str], workers: int
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Yield chunks of texts with their normalised forms, computed by several processes if there are enough texts."""
    remaining = iter(texts)
    chunks = list(iter(lambda: list(islice(remaining, CHUNK_SIZE)), []))
    if len(texts) < MIN_TEXTS_FOR_PROCESSES or workers == 1:
        for chunk in chunks:
            yield chunk, _normalize_all(frontend, chunk)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from zip(chunks, pool.map(_normalize_all, [frontend] * len(chunks), chunks), strict=True)


def _normalize_all(frontend: TextFrontend, texts: Sequence[str]) -> list[str]:
    return [frontend.normalize(text) for text in texts]
