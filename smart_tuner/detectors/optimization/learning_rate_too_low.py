"""Updates so small beside the weights that training would take for ever: from the start, or all at once."""

from __future__ import annotations

import math
import statistics

from smart_tuner.detectors.optimization.learning_rate import LOOK_BACK_STEPS, first_of_typical, typical_ratio
from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

SMALL, TINY = 6e-4, 1e-4
HARDLY = -0.05  # change of the loss in a window, in its logarithm
NEAR_PEAK = 0.5
COLLAPSE = 30.0  # times smaller
HABIT, NOW = 4, 2  # measurements


def detect(view: RunView) -> Diagnosis | None:
    return _collapse(view) or _small_from_the_start(view)


def _collapse(view: RunView) -> Diagnosis | None:
    """Updates that have all at once become a small part of what they were: no schedule does that."""
    points = view.points("update_ratio", LOOK_BACK_STEPS)
    before, now = points[:-NOW], points[-NOW:]
    if len(before) < HABIT:
        return None
    usual, largest = statistics.median(value for _, value in before), max(value for _, value in now)
    if largest >= usual / COLLAPSE:
        return None
    evidence = {"update_ratio": largest, "before": usual}
    return Diagnosis("learning_rate_too_low", "warning", view.step, now[0][0], evidence)


def _small_from_the_start(view: RunView) -> Diagnosis | None:
    ratio, rates = typical_ratio(view), view.values("learning_rate", 1)
    losses = view.log_points("total_loss", view.facts.window_steps)
    trend = slope(losses)
    if ratio is None or trend is None or not rates or view.phase != "pre_alignment":
        return None
    if rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None  # small by schedule, or by a treatment
    if statistics.median(value for _, value in losses) <= math.log(view.quality.loss_target):
        return None  # fine-tuning what is good already
    if view.steps_done < view.facts.warmup_steps + view.facts.window_steps // 2:
        return None
    tiny, small = (2 * TINY, 2 * SMALL) if "learning_rate_too_low" in view.active else (TINY, SMALL)
    if ratio > small or (ratio > tiny and trend * view.facts.window_steps < HARDLY):
        return None
    evidence = {"update_ratio": ratio, "limit": tiny, "loss_trend": trend * view.facts.window_steps}
    return Diagnosis("learning_rate_too_low", "warning", view.step, first_of_typical(view), evidence)
