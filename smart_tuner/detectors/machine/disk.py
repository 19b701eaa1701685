"""Detector of a disk that is almost full: it has no room for more checkpoints."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

ENTER_CHECKPOINTS, LEAVE_CHECKPOINTS = 2.0, 4.0


def detect_disk_running_full(view: RunView) -> Diagnosis | None:
    free, size = view.values("disk_free_bytes")[-1:], view.values("checkpoint_bytes")[-1:]
    if not free or not size:
        return None
    needed = LEAVE_CHECKPOINTS if "disk_running_full" in view.active else ENTER_CHECKPOINTS
    if free[0] >= needed * size[0]:
        return None
    evidence = {"disk_free_bytes": free[0], "checkpoint_bytes": size[0]}
    return Diagnosis("disk_running_full", "warning", view.step, view.step, evidence)
