"""Time limit after which a training that reports no progress is considered stuck."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_SLOWDOWN = 10
"""A step, an evaluation or a save may take this many times the longest one of its kind so far."""


class AwakeClock:
    """Seconds in which this process was running, without the time that a suspended machine was asleep."""

    def __init__(self, longest_gap_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._longest_gap, self._monotonic = longest_gap_seconds, monotonic
        self._last_reading, self._awake_seconds = monotonic(), 0.0

    def now(self) -> float:
        """Call this more often than once in `longest_gap_seconds`: a longer gap counts as that much only."""
        reading = self._monotonic()
        self._awake_seconds += min(reading - self._last_reading, self._longest_gap)
        self._last_reading = reading
        return self._awake_seconds


class ProgressTimeout:
    """Time limit for each kind of work (step, evaluation, save), learnt from how long the finished ones took.

    Work of a kind that has never been finished may take `start_seconds`, long enough to prepare a large corpus.
    """

    def __init__(self, *, least_seconds: float, start_seconds: float) -> None:
        self._least, self._start = least_seconds, start_seconds
        self._longest: dict[str, float] = {}
        self.begin("start", 0.0)

    def begin(self, work: str, now: float) -> None:
        """Note that other work begins; the duration of the unfinished current work is not counted."""
        self.work, self._since = work, now

    def done(self, now: float) -> None:
        """Note that the current work is finished and that a step follows."""
        if self.work != "start":  # a start may find its caches filled or empty: one says nothing about the next
            self._longest[self.work] = max(self._longest.get(self.work, 0.0), now - self._since)
        self.begin("step", now)

    @property
    def limit_seconds(self) -> float:
        if self.work == "end":  # nothing is left but the exit of the process
            return self._least
        if (longest := self._longest.get(self.work)) is None:
            return max(self._least, self._start)
        return max(self._least, MAX_SLOWDOWN * longest)

    def waited_seconds(self, now: float) -> float:
        return now - self._since
