"""Held-out loss rises while the training loss goes on falling: the voice learns its recordings by heart."""

from __future__ import annotations

from smart_tuner.detectors.optimization.held_out_loss import rises_alone
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView


def detect(view: RunView) -> Diagnosis | None:
    return rises_alone(view, ailment="overfitting", loss=view.facts.spectrum_loss, enter_rise=1.10, leave_rise=1.03)
