"""Check of a decode by its own attention and length: skipped, repeated or endless speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports import SentenceReport

SHORTEST, LONGEST = 0.5, 2.0  # of the expected length
TOLERANCE_SECONDS = 0.6  # for short texts, whose length varies more
MAX_SKIPPED_SHARE, MIN_SKIPPED_SYMBOLS = 0.12, 5
MAX_STEP_BACK = 4  # symbols
REST_SYMBOLS = 2
USUAL_REST_SECONDS, KEPT_REST_SECONDS = 0.5, 0.15


@dataclass(frozen=True)
class DecodeFault:
    """A fault of a decode, in words, and how bad it is; 0: none."""

    badness: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Pace:
    """Expected pace of a voice: seconds of a symbol, of a mel frame, of a decoder step, and of rest at the end."""

    symbol_seconds: float | None
    frame_seconds: float
    step_seconds: float
    rest_seconds: float = USUAL_REST_SECONDS


def check_decode(report: SentenceReport, pace: Pace, *, has_attention: bool) -> DecodeFault:
    """Return the worst fault of one raw decode."""
    faults = [] if report.stopped else [DecodeFault(3.0, "does not end by itself")]
    faults += _length_faults(report, pace)
    if has_attention:
        faults += _attention_faults(report.free_attention)
    return max(faults, key=lambda fault: fault.badness, default=DecodeFault())


def _length_faults(report: SentenceReport, pace: Pace) -> list[DecodeFault]:
    if pace.symbol_seconds is None:
        return []
    seconds, expected = report.free_mel.shape[1] * pace.frame_seconds, len(report.symbol_ids) * pace.symbol_seconds
    if seconds < SHORTEST * expected - TOLERANCE_SECONDS:
        return [DecodeFault(2.0, "is much too short")]
    if seconds > LONGEST * expected + TOLERANCE_SECONDS:
        return [DecodeFault(2.5, "is much too long")]
    return []


def _attention_faults(attention: np.ndarray) -> list[DecodeFault]:
    """Skipped symbols, steps back, and an end before the last symbols; for attention [S, N]."""
    n_symbols = attention.shape[1]
    position = attention.argmax(1)
    largest_gap = int(np.diff(np.unique(np.concatenate([[-1], position, [n_symbols]]))).max()) - 1
    allowed = max(MIN_SKIPPED_SYMBOLS, MAX_SKIPPED_SHARE * n_symbols)
    faults = []
    if largest_gap > allowed:
        faults.append(DecodeFault(1.0 + largest_gap / n_symbols, "skips words"))
    furthest = np.maximum.accumulate(position)
    step_back = int((furthest - position).max())
    if step_back > max(MAX_STEP_BACK, allowed):
        faults.append(DecodeFault(1.0 + step_back / n_symbols, "repeats words"))
    return faults


def resting_step(attention: np.ndarray, pace: Pace) -> int | None:
    """Step at which to cut a decode whose attention rests on the last symbols for longer than in training, or None."""
    needed = max(1, round(pace.rest_seconds / pace.step_seconds))
    for start, end in _rests(attention):
        if end - start > needed:
            return start + max(1, round(KEPT_REST_SECONDS / pace.step_seconds))
    return None


def longest_rest(attention: np.ndarray) -> int:
    """Most steps in a row for which attention [S, N] rests on the last symbols."""
    return max((end - start for start, end in _rests(attention)), default=0)


def _rests(attention: np.ndarray) -> list[tuple[int, int]]:
    """Spans of steps at the last symbols; none in a text so short that every step is near its end."""
    if attention.shape[1] <= 2 * REST_SYMBOLS:
        return []
    at_end = attention.argmax(1) >= attention.shape[1] - REST_SYMBOLS
    edges = np.flatnonzero(np.diff(np.concatenate([[False], at_end, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
