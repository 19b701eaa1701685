"""Check of the forecast: once the real speed of the steps is known, a forecast that was far off is renewed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from commands.plan.estimate import time_text
from commands.plan.plan_correction import PlanCorrection
from monitoring.events import EvaluationStartEvent, Event, SaveStartEvent, StepEvent
from training.run_state import RunLimits

FIRST_CHECK_STEPS = 10
"""Measured steps before the first check; each further check needs twice as many."""
MAX_ERROR = 0.5  # relative to the forecast
PAUSE_FACTOR = 4
"""A step of so many times the median was held up; long recordings alone do not take as much."""


class ForecastCheck:
    """Subscriber that compares the median time of a step with the forecast one."""

    def __init__(
        self,
        seconds_per_step: float,
        *,
        last_step: int,
        limits: RunLimits,
        write_note: Callable[[int, str], None],
        correction: PlanCorrection | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forecast, self._last_step, self._limits = seconds_per_step, last_step, limits
        self._write_note, self._now = write_note, now
        self._step_end: float | None = None  # None: other work lies between the last step and the next
        self._seconds: list[float] = []
        self._next_check = FIRST_CHECK_STEPS
        self._correction, self._all_seconds = correction, list[float]()  # since the session began, for the correction

    def on_event(self, event: Event) -> None:
        match event:
            case StepEvent():
                now = self._now()
                if self._step_end is not None:
                    self._seconds.append(now - self._step_end)
                    if self._correction is not None:
                        self._all_seconds.append(now - self._step_end)
                self._step_end = now
                self._correct_plan(event.report.step)
                if len(self._seconds) == self._next_check:
                    self._check(event.report.step)
            case EvaluationStartEvent() | SaveStartEvent():
                self._step_end = None

    def _correct_plan(self, step: int) -> None:
        """Once enough steps are measured, have the plan follow the real speed."""
        is_measured = len(self._all_seconds) >= FIRST_CHECK_STEPS
        if self._correction is None or not is_measured or not self._correction.is_due(step):
            return
        self._forecast = _mean_without_pauses(self._all_seconds)
        self._last_step = self._correction.apply(step, self._forecast)
        self._correction = None

    def _check(self, step: int) -> None:
        measured, self._seconds, self._next_check = statistics.median(self._seconds), [], 2 * self._next_check
        if abs(measured / self._forecast - 1) <= MAX_ERROR:
            return
        text = time_text(max(0, self._last_step - step), measured, self._limits.seconds_left)
        self._write_note(step, f"the forecast of {self._forecast:.2f} s a step was wrong: {text}")
        self._forecast = measured


def _mean_without_pauses(seconds: list[float]) -> float:
    """The mean rather than the median: batches of long recordings take more than their share of the time."""
    longest = PAUSE_FACTOR * statistics.median(seconds)
    return statistics.fmean(min(value, longest) for value in seconds)
