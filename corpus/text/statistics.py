"""Statistics of the texts that a voice was trained on, which tell how to give it other texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpus.batches import Example
from corpus.text.scripts import JAPANESE, SENTENCE_MARKS, letter_script

LONGEST_PERCENTILE = 95
MIN_SCRIPT_SHARE = 0.001
"""Share of the letters from which on a script belongs to the voice: less may be a foreign name here and there."""


@dataclass(frozen=True)
class TextStatistics:
    """Length, pace, ending and scripts of training texts, and how long their ends take."""

    longest_symbols: int  # 95th percentile
    seconds_per_symbol: float
    ending: str  # mark at the end of most texts; empty if most have none
    scripts: tuple[str, ...]  # of their letters, by the first words of Unicode names: LATIN, CYRILLIC, …
    rest_seconds: float | None = None  # longest rest of attention on the last symbols; None: not measured


def read_statistics(fields: Mapping[str, Any] | None) -> TextStatistics | None:
    """Statistics from a voice or a checkpoint; None if it has none."""
    return None if fields is None else TextStatistics(**{**fields, "scripts": tuple(fields["scripts"])})


def measure_texts(examples: Sequence[Example], frame_seconds: float) -> TextStatistics:
    n_symbols = [len(e.symbol_ids) for e in examples]
    texts = [e.utterance.text for e in examples]
    return TextStatistics(
        longest_symbols=int(np.percentile(n_symbols, LONGEST_PERCENTILE)),
        seconds_per_symbol=frame_seconds * sum(e.n_frames for e in examples) / sum(n_symbols),
        ending=_usual_ending(texts),
        scripts=_usual_scripts(texts),
    )


def _usual_ending(texts: Sequence[str]) -> str:
    last = [text.rstrip(" \t\"'»”’)]")[-1:] for text in texts]
    marks = Counter(mark for mark in last if mark in SENTENCE_MARKS)
    return marks.most_common(1)[0][0] if sum(marks.values()) > len(texts) / 2 else ""


def _usual_scripts(texts: Iterable[str]) -> tuple[str, ...]:
    counts = Counter(script for text in texts for c in text if (script := letter_script(c)) is not None)
    usual = {script for script, n in counts.items() if n >= MIN_SCRIPT_SHARE * counts.total()}
    return tuple(sorted(usual | JAPANESE if "HIRAGANA" in usual else usual))
