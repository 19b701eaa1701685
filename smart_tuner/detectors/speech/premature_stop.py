"""The gate opens before the end: speech that is cut off."""

from __future__ import annotations

from smart_tuner.detectors.speech.gate import misplaced_end
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView


def detect(view: RunView) -> Diagnosis | None:
    return misplaced_end(view, ailment="premature_stop", signal="gate_premature")
