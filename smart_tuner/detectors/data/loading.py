"""Detector of data starvation: training spends more time waiting for batches than it should."""

from __future__ import annotations

import statistics

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

ENTER_SHARE, LEAVE_SHARE = 0.3, 0.1


def detect_data_starvation(view: RunView) -> Diagnosis | None:
    window = view.facts.window_steps
    points = view.points("data_wait_share", window)
    if len(points) < window:
        return None
    share = statistics.median(value for _, value in points)
    if share < (LEAVE_SHARE if "data_starvation" in view.active else ENTER_SHARE):
        return None
    return Diagnosis("data_starvation", "warning", view.step, points[0][0], {"data_wait_share": share})
