"""Detector of a plateau: the validation loss stands still above its target, at nearly the peak learning rate."""

from __future__ import annotations

import math

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

EVALUATIONS = 5
ENTER_GAIN, LEAVE_GAIN = 0.01, 0.02  # of the loss
NEAR_PEAK = 0.5


def detect_plateau(view: RunView) -> Diagnosis | None:
    losses, rates = view.log_points("val_total_loss"), view.values("learning_rate", 1)
    if len(losses) <= EVALUATIONS or not rates:
        return None
    before, recent = min(v for _, v in losses[:-EVALUATIONS]), min(v for _, v in losses[-EVALUATIONS:])
    if view.phase == "pre_alignment" and view.facts.alignment_patience_steps:
        return None  # the loss often stands still until attention forms
    if view.facts.decay_is_planned:
        return None  # the plan itself lowers the learning rate
    if before <= math.log(view.quality.loss_target) or rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None
    gain = LEAVE_GAIN if "plateau" in view.active else ENTER_GAIN
    if recent < before + math.log(1 - gain) or recent > before + math.log(1 + EVALUATIONS * ENTER_GAIN):
        return None  # still falling, or rising, which is another ailment
    evidence = view.facts.measured_values("val_total_loss", val_total_loss=recent, before=before)
    evidence |= {"evaluations": float(EVALUATIONS)}
    return Diagnosis("plateau", "warning", view.step, losses[-EVALUATIONS][0], evidence)
