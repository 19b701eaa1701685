"""Detector of a plateau: the validation loss stands still at nearly the peak learning rate."""

from __future__ import annotations

import math

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

MIN_EVALUATIONS, PLAN_SHARE = 5, 0.1  # that it lasts; the longer of both counts
LEFT_SHARE = 0.2  # of the plan: with less left there is little to gain
ENTER_GAIN, LEAVE_GAIN = 0.01, 0.02  # of the loss
LEAST_FALL = math.log(1.1)  # since the start: a loss that has hardly fallen has another ailment, or nothing to gain
NEAR_PEAK = 0.5


def detect_plateau(view: RunView) -> Diagnosis | None:
    losses, rates = view.log_points("val_total_loss"), view.values("learning_rate", 1)
    n = max(MIN_EVALUATIONS, math.ceil(PLAN_SHARE * view.facts.planned_steps / view.facts.steps_per_evaluation))
    if len(losses) <= n or not rates or view.attempt_steps > (1 - LEFT_SHARE) * view.facts.planned_steps:
        return None
    before, recent = min(v for _, v in losses[:-n]), min(v for _, v in losses[-n:])
    if view.phase == "pre_alignment" and view.facts.alignment_patience_steps:
        return None  # the loss often stands still until attention forms
    if view.facts.decay_is_planned:
        return None  # the plan itself lowers the learning rate
    if rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None
    if before > losses[0][1] - LEAST_FALL:
        return None
    gain = LEAVE_GAIN if "plateau" in view.active else ENTER_GAIN
    if recent < before + math.log(1 - gain) or recent > before + math.log(1 + MIN_EVALUATIONS * ENTER_GAIN):
        return None  # still falling, or rising, which is another ailment
    evidence = view.facts.measured_values("val_total_loss", val_total_loss=recent, before=before)
    evidence |= {"evaluations": float(n)}
    return Diagnosis("plateau", "warning", view.step, losses[-n][0], evidence)
