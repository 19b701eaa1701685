"""Gradients far above their own habit and above the threshold, several times: a healthy start is no alarm."""

from __future__ import annotations

import math

from smart_tuner.detectors.series import habit_of
from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.inputs.run_view import RunView

RECENT_STEPS = 10
EXTREME = 6.0  # spreads above the habit; healthy runs stay below 4.5
LEAST_SPREAD = 0.3
ENOUGH_STEPS = 10
HUNDREDS = 300.0  # times the threshold: needs no comparison
OFTEN, STILL = 5, 2  # of the recent steps, to enter and to stay


def detect(view: RunView) -> Diagnosis | None:
    recent = view.points("gradient_norm", RECENT_STEPS)
    if not recent:
        return None
    threshold = view.quality.gradient_norm_threshold
    if max(value for _, value in recent) <= threshold:
        return None
    usual = habit_of(_before(view), least_spread=LEAST_SPREAD)
    limit = HUNDREDS * threshold
    known = usual is not None and usual.count >= ENOUGH_STEPS
    extreme = [
        (step, value)
        for step, value in recent
        if value > limit or (known and usual and value > threshold and usual.deviations(math.log(value)) > EXTREME)
    ]
    largest = max((value for _, value in extreme), default=0.0)
    often = STILL if "exploding_gradient" in view.active else OFTEN
    if len(extreme) < often and largest <= limit:
        return None  # one jump that is clipped does no harm
    evidence = {"gradient_norm": largest, "threshold": threshold, "steps": float(len(extreme))}
    if usual is not None:
        evidence["deviations"] = usual.deviations(math.log(largest))
    severity: Severity = "critical" if largest > limit else "warning"
    return Diagnosis("exploding_gradient", severity, view.step, extreme[0][0], evidence)


def _before(view: RunView) -> list[float]:
    """The habit: the window before the recent steps, in logarithms."""
    points = view.log_points("gradient_norm", view.facts.window_steps + RECENT_STEPS)
    return [value for step, value in points if step <= view.step - RECENT_STEPS]
