"""Facts about a corpus from which recipes follow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """Amount of speech and lengths of the utterances."""

    utterances: int
    hours: float
    mean_frames: float
    longest_frames: int
    frames_per_symbol: float
