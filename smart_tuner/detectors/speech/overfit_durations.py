"""How long symbols last is learnt by heart: held-out durations get worse while those of training get better."""

from __future__ import annotations

from smart_tuner.detectors.optimization.held_out_loss import rises_alone
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView


def detect(view: RunView) -> Diagnosis | None:
    return rises_alone(view, ailment="overfit_durations", loss="duration_loss", enter_rise=1.25, leave_rise=1.10)
