"""How large an update is beside the weights, as it would be at the learning rate's peak."""

from __future__ import annotations

import statistics

from smart_tuner.detectors.series import Points
from smart_tuner.inputs.run_view import RunView

MEASUREMENTS = 3
LOOK_BACK_STEPS = 100  # what was measured long ago says nothing of now


def peak_update_ratios(view: RunView, n_steps: int = LOOK_BACK_STEPS) -> Points:
    """Warm-up taken out; what a knob did to the rate stays in, since that is what is to be judged."""
    warmup = max(1, view.facts.warmup_steps)
    points = view.points("update_ratio", n_steps)
    return [(step, value / min(1.0, max(1, step - view.begin) / warmup)) for step, value in points]


def typical_ratio(view: RunView) -> float | None:
    now = peak_update_ratios(view)[-MEASUREMENTS:]
    return statistics.median(value for _, value in now) if len(now) == MEASUREMENTS else None


def first_of_typical(view: RunView) -> int:
    """Since which step updates have been as they are."""
    return peak_update_ratios(view)[-MEASUREMENTS][0]


def ratio_before(view: RunView, ailment: str) -> float | None:
    """What was typical before that, and before the ailment was seen."""
    until = min(first_of_typical(view), view.active.get(ailment, view.step))
    known = peak_update_ratios(view, view.step - until + LOOK_BACK_STEPS)
    earlier = [value for step, value in known if step < until]
    return statistics.median(earlier) if earlier else None
