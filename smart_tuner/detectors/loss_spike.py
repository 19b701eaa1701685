"""The loss jumped up and stayed up for some steps: something broke between two of them."""

from __future__ import annotations

import statistics

from smart_tuner.detectors.series import robust_log
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import View

RECENT_STEPS = 6
ENOUGH_STEPS = 15
EXTREME_DEVIATIONS = 6.0
LEAST_SPREAD = 0.06
LEAST_RATIO = 1.5
LEAVE_RATIO = 1.2


def detect(view: View) -> Diagnosis | None:
    points = view.points("total_loss", view.facts.window_steps + RECENT_STEPS)
    recent = [(step, value) for step, value in points if step > view.step - RECENT_STEPS]
    before = [value for step, value in points if step <= view.step - RECENT_STEPS]
    if len(recent) < RECENT_STEPS // 2 or len(before) < ENOUGH_STEPS:
        return None
    usual = robust_log(before, least_spread=LEAST_SPREAD)
    level, habit = statistics.median(value for _, value in recent), statistics.median(before)
    if usual is None or level <= 0:
        return None
    deviations = usual.deviations(level)
    is_active = "loss_spike" in view.active
    if level < habit * (LEAVE_RATIO if is_active else LEAST_RATIO):
        return None
    if not is_active and deviations < EXTREME_DEVIATIONS:
        return None
    since = view.active.get("loss_spike", next(step for step, value in recent if value > LEAVE_RATIO * habit))
    evidence = {"total_loss": level, "before": habit, "deviations": deviations}
    return Diagnosis("loss_spike", "critical", view.step, since, evidence)
