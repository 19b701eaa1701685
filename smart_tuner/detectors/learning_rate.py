"""How large an update is beside the weights, as it would be at the learning rate's peak."""

from __future__ import annotations

import statistics

from smart_tuner.detectors.series import Points
from smart_tuner.view import View

MEASUREMENTS = 3
LOOK_BACK_STEPS = 100  # what was measured long ago says nothing of now


def peak_update_ratios(view: View) -> Points:
    """Warm-up taken out; what a knob did to the rate stays in, since that is what is to be judged."""
    warmup = max(1, view.facts.warmup_steps)
    points = view.points("update_ratio", LOOK_BACK_STEPS)[-MEASUREMENTS:]
    return [(step, value / min(1.0, max(1, step - view.begin) / warmup)) for step, value in points]


def typical_ratio(view: View) -> float | None:
    ratios = peak_update_ratios(view)
    return statistics.median(value for _, value in ratios) if len(ratios) == MEASUREMENTS else None
