"""The loss jumped up and stayed up for some steps: something broke between two of them."""

from __future__ import annotations

import math
import statistics

from smart_tuner.detectors.series import habit_of
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

RECENT_STEPS = 6
HABIT_STEPS = 30  # more would compare with a loss that has fallen far since
ENOUGH_STEPS = 15
EXTREME_DEVIATIONS = 5.0  # of a single step; the recent ones together stray half as far
LEAST_SPREAD = 0.06
LEAST_RISE = math.log(1.5)
LEAVE_RISE = math.log(1.2)


def detect(view: RunView) -> Diagnosis | None:
    habit_until = min(view.step - RECENT_STEPS, view.active.get("loss_spike", view.step) - 1)
    window = view.step - habit_until + min(HABIT_STEPS, view.facts.window_steps)
    points = view.log_points("total_loss", window)
    recent = [(step, value) for step, value in points if step > view.step - RECENT_STEPS]
    before = [value for step, value in points if step <= habit_until]
    if len(recent) < RECENT_STEPS // 2 or len(before) < ENOUGH_STEPS:
        return None
    usual = habit_of(before, least_spread=LEAST_SPREAD)
    if usual is None:
        return None
    level = statistics.median_low(value for _, value in recent)
    deviations = usual.deviations(level)
    is_active = "loss_spike" in view.active
    if level < usual.median + (LEAVE_RISE if is_active else LEAST_RISE):
        return None
    if not is_active and deviations < EXTREME_DEVIATIONS:
        return None
    if _only_weights_changed(view, window, habit_until):
        return None
    since = next(step for step, value in recent if value >= usual.median + LEAVE_RISE)
    evidence = view.facts.as_told("total_loss", total_loss=level, before=usual.median) | {"deviations": deviations}
    return Diagnosis("loss_spike", "critical", view.step, view.active.get("loss_spike", since), evidence)


def _only_weights_changed(view: RunView, window: int, habit_until: int) -> bool:
    """The loss of the spectra, whose weight is no knob, did not jump along: another part was given more weight."""
    points = view.log_points(view.facts.spectrum_loss, window)
    recent = [value for step, value in points if step > view.step - RECENT_STEPS]
    before = [value for step, value in points if step <= habit_until]
    return bool(recent and before) and statistics.median(recent) < statistics.median(before) + LEAVE_RISE
