"""Texts as people type them: without a full stop, one word, lower case, two sentences in one, three at once.

Held-out sentences look like those of the corpus, and hide that a voice babbles on where a full stop is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from corpus.text.frontend import FINAL_MARKS

MARKS = FINAL_MARKS + "…。！？।\"'»”’) "
MAX_TEXTS = 10


def plain_texts(texts: Sequence[str]) -> list[str]:
    """Make plain texts of these, one of each kind in turn; of one or two texts, too."""
    bare = [text.rstrip(MARKS) for text in texts if text.strip(MARKS)]
    return list(islice(_variants(bare * -(-3 // len(bare)) if bare else []), MAX_TEXTS))


def _variants(texts: Sequence[str]) -> Iterator[str]:
    for i in range(0, len(texts) - 2, 3):
        first, second, third = texts[i : i + 3]
        yield first
        yield max(second.split(), key=len).strip(MARKS)
        yield third.lower()
        yield f"{second} {third}"
        yield f"{third} {first} {second}"
