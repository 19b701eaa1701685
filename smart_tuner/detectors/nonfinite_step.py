"""A loss or gradient was not a number: one such step is an event, several in a few are an ailment."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.view import View

LOOK_BACK_STEPS = 20
SEVERAL = 3
MANY = 10


def detect(view: View) -> Diagnosis | None:
    counts = view.points("nonfinite_steps", LOOK_BACK_STEPS + 1)
    if len(counts) < 2:
        return None
    events = [step for (_, before), (step, now) in zip(counts, counts[1:], strict=False) if now > before]
    if not events:
        return None
    severity: Severity = "notice" if len(events) < SEVERAL else "critical" if len(events) >= MANY else "warning"
    evidence = {"nonfinite_steps": counts[-1][1], "of_the_last": float(len(counts) - 1), "were": float(len(events))}
    return Diagnosis("nonfinite_step", severity, view.step, events[0], evidence)
