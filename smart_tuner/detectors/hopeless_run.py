"""Detector of a hopeless run: a critical ailment persists although every remedy was tried."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView


def detect_hopeless_run(view: RunView) -> Diagnosis | None:
    untreatable = {ailment: step for ailment, step in view.untreatable.items() if ailment in view.active}
    since = min(untreatable.values(), default=view.step)
    if view.step - since < view.facts.steps_per_evaluation:
        return None
    evidence = {ailment: float(step) for ailment, step in untreatable.items()}
    return Diagnosis("hopeless_run", "critical", view.step, since, evidence)
