"""A loss or gradient was not a number: one such step is an event, several in a few are an ailment."""

from __future__ import annotations

from itertools import pairwise

from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.inputs.run_view import RunView

LOOK_BACK_STEPS = 20
SEVERAL = 3
MANY = 10


def detect(view: RunView) -> Diagnosis | None:
    counts = view.points("nonfinite_steps", LOOK_BACK_STEPS + 1)
    if len(counts) < 2:
        return None
    searched = _scale_searched_until(view)
    events = [step for (_, before), (step, now) in pairwise(counts) if now > before and step > searched]
    if not events:
        return None
    severity: Severity = "notice" if len(events) < SEVERAL else "critical" if len(events) >= MANY else "warning"
    evidence = {"nonfinite_steps": counts[-1][1], "of_the_last": float(len(counts) - 1), "were": float(len(events))}
    return Diagnosis("nonfinite_step", severity, view.step, events[0], evidence)


def _scale_searched_until(view: RunView) -> int:
    """float16 begins with too large a scale of the loss and halves it until a step is finite, within a few steps."""
    if view.steps_done > 2 * LOOK_BACK_STEPS:
        return view.begin
    finite = view.points("total_loss")
    first = finite[0][0] if finite else view.step
    return first if first - view.begin <= MANY else view.begin
