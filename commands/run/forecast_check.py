"""Check of the forecast: once the real speed of the steps is known, a forecast that was far off is renewed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from commands.run.estimate import format_duration
from monitoring.events import EvaluationStarted, Event, SaveStarted, StepEvent

FIRST_CHECK_STEPS = 10
"""Measured steps before the first check; each further check needs twice as many."""
MAX_ERROR = 0.5  # relative to the forecast


class ForecastCheck:
    """Subscriber that compares the median time of a step with the forecast one."""

    def __init__(
        self,
        seconds_per_step: float,
        *,
        last_step: int,
        print_line: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forecast, self._last_step, self._print_line, self._now = seconds_per_step, last_step, print_line, now
        self._step_end: float | None = None  # None: other work lies between the last step and the next
        self._seconds: list[float] = []
        self._next_check = FIRST_CHECK_STEPS

    def on_event(self, event: Event) -> None:
        match event:
            case StepEvent():
                now = self._now()
                if self._step_end is not None:
                    self._seconds.append(now - self._step_end)
                self._step_end = now
                if len(self._seconds) == self._next_check:
                    self._check(event.report.step)
            case EvaluationStarted() | SaveStarted():
                self._step_end = None

    def _check(self, step: int) -> None:
        measured, self._seconds, self._next_check = statistics.median(self._seconds), [], 2 * self._next_check
        if abs(measured / self._forecast - 1) <= MAX_ERROR:
            return
        n_left = max(0, self._last_step - step)
        self._print_line(
            f"time    about {format_duration(n_left * measured)} for the other {n_left:,} steps: a step takes "
            f"{measured:.2f} s, not {self._forecast:.2f} s"
        )
        self._forecast = measured
