"""How long a training may be silent before it is taken for stuck."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_KNOWN_TIMES = 10
"""A piece of work may take this many times what the longest of its kind took."""


class AwakeClock:
    """Seconds in which this process ran: of those it slept through (a suspended machine) nobody is to blame."""

    def __init__(self, longest_gap_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._longest_gap, self._monotonic = longest_gap_seconds, monotonic
        self._seen, self._awake = monotonic(), 0.0

    def now(self) -> float:
        present = self._monotonic()
        self._awake += min(present - self._seen, self._longest_gap)
        self._seen = present
        return self._awake


class ProgressTimeout:
    """Learns from the beats how long a step, an evaluation and a save take, each for itself.

    Work of a kind that was never seen to end may take `start_seconds`, as preparing a large corpus may.
    """

    def __init__(self, *, least_seconds: float, start_seconds: float) -> None:
        self._least, self._start = least_seconds, start_seconds
        self._longest: dict[str, float] = {}
        self.begin("start", 0.0)

    def begin(self, work: str, now: float) -> None:
        """Something else is done from now on: whatever was going on is not finished, and nothing is learnt from it."""
        self.work, self._since = work, now

    def done(self, now: float) -> None:
        """What was going on is finished; a step follows."""
        if self.work != "start":  # preparing takes as long as it takes: a cache may be there or gone
            self._longest[self.work] = max(self._longest.get(self.work, 0.0), now - self._since)
        self.begin("step", now)

    @property
    def limit_seconds(self) -> float:
        if self.work == "end":  # only the process itself is left to end
            return self._least
        if (longest := self._longest.get(self.work)) is None:
            return max(self._least, self._start)
        return max(self._least, LONGEST_KNOWN_TIMES * longest)

    def waited_seconds(self, now: float) -> float:
        return now - self._since
