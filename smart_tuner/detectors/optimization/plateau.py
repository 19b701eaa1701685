"""The validation loss has stopped falling above its target, and the learning rate is still near its peak."""

from __future__ import annotations

import math

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

EVALUATIONS = 5
LEAST_GAIN, LEAVE_GAIN = 0.01, 0.02  # of the loss
NEAR_PEAK = 0.5


def detect(view: RunView) -> Diagnosis | None:
    losses, rates = view.log_points("val_total_loss"), view.values("learning_rate", 1)
    if len(losses) <= EVALUATIONS or not rates:
        return None
    before, since = min(v for _, v in losses[:-EVALUATIONS]), min(v for _, v in losses[-EVALUATIONS:])
    if view.phase == "pre_alignment" and view.facts.alignment_patience_steps:
        return None  # attention has yet to form: the loss often stands still until then
    if before <= math.log(view.quality.loss_target) or rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None
    gain = LEAVE_GAIN if "plateau" in view.active else LEAST_GAIN
    if since < before + math.log(1 - gain) or since > before + math.log(1 + EVALUATIONS * LEAST_GAIN):
        return None  # still falling; or rising, which has another name
    evidence = view.facts.as_told("val_total_loss", val_total_loss=since, before=before)
    evidence |= {"evaluations": float(EVALUATIONS)}
    return Diagnosis("plateau", "warning", view.step, losses[-EVALUATIONS][0], evidence)
