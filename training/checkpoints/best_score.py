"""Choice of the checkpoint that becomes the voice: the newest one that is not clearly worse than the best."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

RECENT_SCORES = 12
SMOOTHED_SCORES = 3
LARGEST_TOLERANCE = 0.03
"""Scores that rise quickly change from one evaluation to the next by more than their noise."""


def steady_score(scores: Sequence[float]) -> float:
    """The latest score, but no more than the median of the latest three: the highest of many is high by chance."""
    latest = scores[-SMOOTHED_SCORES:]
    return min(latest[-1], statistics.median(latest)) if len(latest) == SMOOTHED_SCORES else latest[-1]


def is_as_good(scores: Sequence[float], best: float) -> bool:
    """Whether the latest score is the best, or differs from it by no more than scores change without a reason."""
    steady = steady_score(scores)
    if steady > best or len(scores) <= SMOOTHED_SCORES:
        return steady > best
    noise = statistics.median(abs(later - earlier) for earlier, later in pairwise(scores))
    return steady >= best - min(noise, LARGEST_TOLERANCE)
