"""The gate stays shut at the end: speech that does not stop."""

from __future__ import annotations

from smart_tuner.detectors.speech.gate import misplaced_end
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView


def detect(view: RunView) -> Diagnosis | None:
    return misplaced_end(view, ailment="gate_never_fires", signal="gate_overrun")
