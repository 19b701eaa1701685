"""Facts about a corpus from which recipes follow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """Amount of speech, lengths of the utterances, levels, speakers and symbols."""

    utterances: int
    hours: float
    mean_frames: float
    longest_frames: int
    frames_per_symbol: float
    speakers: int = 1  # named in the corpus
    level_spread_db: float | None = None  # between loud and quiet recordings; None: not measured
    front_end: str = "phonemes"
