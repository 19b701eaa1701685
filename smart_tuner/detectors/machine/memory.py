"""Detector of a step that ran out of memory."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView


def detect_out_of_memory(view: RunView) -> Diagnosis | None:
    counts = view.history.since("out_of_memory_steps", view.step - 1)  # the count goes on after a restart
    if not counts or counts[-1][0] != view.step:
        return None
    before = counts[0][1] if len(counts) == 2 else 0.0
    if counts[-1][1] <= before:
        return None
    return Diagnosis("out_of_memory", "critical", view.step, view.step, {"out_of_memory_steps": counts[-1][1]})
