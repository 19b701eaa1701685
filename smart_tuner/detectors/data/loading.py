"""Detector of data starvation: training spends more time waiting for batches than it should."""

from __future__ import annotations

import statistics

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import STRIDES_PER_WINDOW
from smart_tuner.inputs.run_view import RunView

ENTER_SHARE, LEAVE_SHARE = 0.3, 0.1


def detect_data_starvation(view: RunView) -> Diagnosis | None:
    levels = view.levels("data_wait_share", STRIDES_PER_WINDOW)
    if len(levels) < STRIDES_PER_WINDOW:
        return None
    share = statistics.median(value for _, value in levels)
    if share < (LEAVE_SHARE if "data_starvation" in view.active else ENTER_SHARE):
        return None
    return Diagnosis("data_starvation", "warning", view.step, view.first_step_of(levels[0]), {"data_wait_share": share})
