"""A critical ailment goes on although every remedy was tried."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView


def detect(view: RunView) -> Diagnosis | None:
    waiting = {ailment: step for ailment, step in view.helpless.items() if ailment in view.active}
    since = min(waiting.values(), default=view.step)
    if view.step - since < view.facts.steps_per_evaluation:
        return None
    evidence = {ailment: float(step) for ailment, step in waiting.items()}
    return Diagnosis("hopeless_run", "critical", view.step, since, evidence)
