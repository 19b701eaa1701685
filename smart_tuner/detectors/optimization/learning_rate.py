"""Detectors of a learning rate that is too high or too low, by the size of updates relative to the weights."""

from __future__ import annotations

import math
import statistics

from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import Points, RunView

MEASUREMENTS = 3  # make a typical update ratio
LOOK_BACK_STEPS = 100  # older measurements say nothing about the present

# learning_rate_too_high
LARGE, HUGE = 0.02, 0.05  # update ratios; healthy recipes lie between 0.0005 and 0.01
FALLING = -0.05  # change of the loss's logarithm in a window

# learning_rate_too_low
SMALL, TINY = 6e-4, 1e-4  # update ratios
NEAR_PEAK = 0.5  # of the learning rate's peak
COLLAPSE_FACTOR = 30.0  # times smaller than before
BASELINE_MEASUREMENTS, COLLAPSED_MEASUREMENTS = 4, 2


def peak_update_ratios(view: RunView, n_steps: int = LOOK_BACK_STEPS) -> Points:
    """Update ratios as they would be without warm-up; a knob's effect on the learning rate stays in."""
    warmup = max(1, view.facts.warmup_steps)
    points = view.points("update_ratio", n_steps)
    return [(step, value / min(1.0, max(1, step - view.attempt_start) / warmup)) for step, value in points]


def typical_update_ratio(view: RunView) -> float | None:
    """Median of the last few measurements; None while there are too few."""
    latest = peak_update_ratios(view)[-MEASUREMENTS:]
    return statistics.median(value for _, value in latest) if len(latest) == MEASUREMENTS else None


def typical_ratio_start(view: RunView) -> int:
    """Step of the first measurement that makes the typical update ratio."""
    return peak_update_ratios(view)[-MEASUREMENTS][0]


def update_ratio_before(view: RunView, ailment: str) -> float | None:
    """Median update ratio before the typical one was measured and before the ailment began."""
    until = min(typical_ratio_start(view), view.active.get(ailment, view.step))
    ratios = peak_update_ratios(view, view.step - until + LOOK_BACK_STEPS)
    earlier = [value for step, value in ratios if step < until]
    return statistics.median(earlier) if earlier else None


def detect_learning_rate_too_high(view: RunView) -> Diagnosis | None:
    """Updates so large that they destroy progress: huge ones, or large ones while the loss does not fall."""
    ailment = "learning_rate_too_high"
    ratio, trend = typical_update_ratio(view), slope(view.log_points("total_loss", view.facts.window_steps))
    if ratio is None or trend is None:
        return None
    large, huge = (LARGE / 2, HUGE / 2) if ailment in view.active else (LARGE, HUGE)
    is_falling = trend * view.facts.window_steps < FALLING
    if ratio < large or (ratio < huge and is_falling):
        return None
    evidence = {"update_ratio": ratio, "limit": large, "loss_trend": trend * view.facts.window_steps}
    before = update_ratio_before(view, ailment)
    if before is not None and before < LARGE / 2:  # "before" in the evidence means that the run was healthy
        evidence["before"] = before
    return Diagnosis(ailment, "critical", view.step, typical_ratio_start(view), evidence)


def detect_learning_rate_too_low(view: RunView) -> Diagnosis | None:
    """Updates too small for progress: from the start, or suddenly."""
    return _detect_collapsed_updates(view) or _detect_small_updates(view)


def _detect_collapsed_updates(view: RunView) -> Diagnosis | None:
    """Updates that suddenly became a small part of their former size, which no schedule does."""
    points = view.points("update_ratio", LOOK_BACK_STEPS)
    before, now = points[:-COLLAPSED_MEASUREMENTS], points[-COLLAPSED_MEASUREMENTS:]
    if len(before) < BASELINE_MEASUREMENTS:
        return None
    usual, largest = statistics.median(value for _, value in before), max(value for _, value in now)
    if largest >= usual / COLLAPSE_FACTOR:
        return None
    evidence = {"update_ratio": largest, "before": usual}
    return Diagnosis("learning_rate_too_low", "warning", view.step, now[0][0], evidence)


def _detect_small_updates(view: RunView) -> Diagnosis | None:
    """Small updates at the learning rate's peak in the first phase, while the loss is above its target."""
    ratio, rates = typical_update_ratio(view), view.values("learning_rate", 1)
    losses = view.log_points("total_loss", view.facts.window_steps)
    trend = slope(losses)
    if ratio is None or trend is None or not rates or view.phase != "pre_alignment":
        return None
    if rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None  # lowered by the schedule or by an intervention
    if statistics.median(value for _, value in losses) <= math.log(view.quality.loss_target):
        return None  # fine-tuning of a good model needs only small updates
    if view.attempt_steps < view.facts.warmup_steps + view.facts.window_steps // 2:
        return None
    tiny, small = (2 * TINY, 2 * SMALL) if "learning_rate_too_low" in view.active else (TINY, SMALL)
    if ratio > small or (ratio > tiny and trend * view.facts.window_steps < FALLING):
        return None
    evidence = {"update_ratio": ratio, "limit": tiny, "loss_trend": trend * view.facts.window_steps}
    return Diagnosis("learning_rate_too_low", "warning", view.step, typical_ratio_start(view), evidence)
