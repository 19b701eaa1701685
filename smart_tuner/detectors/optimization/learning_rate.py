"""Detectors of a learning rate that is too high or too low: beside the run's own habit, or beside its recipe."""

from __future__ import annotations

import statistics

from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import STRIDES_PER_WINDOW
from smart_tuner.inputs.run_view import Points, RunView

MEASURED_EVERY_STEPS = 10
RECENT_LEVELS, HABIT_LEVELS = 3, 10  # of the update ratio
LOOK_BACK_LEVELS = 6  # for the recent ones: steps that were not finite have none
MIN_HABIT_LEVELS = 4
FALLING = -0.05  # change of the loss's logarithm in a window

# learning_rate_too_high
LARGE, HUGE = 5.0, 12.0  # times the habit or the recipe's rate

LARGEST_EXCESS = 1e9  # that is reported

# learning_rate_too_low
SMALL, TINY = 4.0, 30.0  # times less than the recipe's rate
COLLAPSE_FACTOR = 30.0  # times smaller than the habit
COLLAPSED_LEVELS = 2
NEAR_PEAK = 0.5  # of the learning rate's peak


def peak_update_ratios(view: RunView, n_levels: int) -> Points:
    """Update ratios as they would be without warm-up; a knob's effect on the learning rate stays in."""
    warmup = max(1, view.facts.warmup_steps)
    levels = view.levels("update_ratio", n_levels, spacing=MEASURED_EVERY_STEPS)
    return [(step, value / min(1.0, max(1, step - view.attempt_start) / warmup)) for step, value in levels]


def typical_update_ratio(view: RunView) -> float | None:
    """Median of the last few levels; None while there are too few."""
    latest = _recent_ratios(view)
    return statistics.median(value for _, value in latest) if len(latest) == RECENT_LEVELS else None


def _recent_ratios(view: RunView) -> Points:
    return peak_update_ratios(view, LOOK_BACK_LEVELS)[-RECENT_LEVELS:]


def usual_update_ratio(view: RunView, ailment: str) -> float | None:
    """Median of the levels before the last few and before the ailment began: the run's own habit."""
    step_size = MEASURED_EVERY_STEPS * view.facts.stride_steps
    n_active = -(-(view.step - view.active.get(ailment, view.step)) // step_size)
    levels = peak_update_ratios(view, LOOK_BACK_LEVELS + HABIT_LEVELS + n_active)
    until = min(levels[-RECENT_LEVELS][0], view.active.get(ailment, view.step)) if len(levels) > RECENT_LEVELS else 0
    earlier = [value for step, value in levels if step < until][-HABIT_LEVELS:]
    return statistics.median(earlier) if len(earlier) >= MIN_HABIT_LEVELS else None


def detect_learning_rate_too_high(view: RunView) -> Diagnosis | None:
    """Updates so large that they destroy progress: huge ones, or large ones while the loss does not fall."""
    ailment = "learning_rate_too_high"
    ratio, fall = typical_update_ratio(view), _loss_trend(view)
    if ratio is None or fall is None or view.attempt_steps < min(view.facts.warmup_steps, view.facts.window_steps):
        return None
    usual, excess_of_recipe = usual_update_ratio(view, ailment), 1 / _recipe_factor(view)
    large, huge = (LARGE / 2, HUGE / 2) if ailment in view.active else (LARGE, HUGE)
    excess = min(LARGEST_EXCESS, max(excess_of_recipe, ratio / usual if usual else 0.0))
    if excess < large or (excess < huge and fall < FALLING):
        return None
    evidence = {"update_ratio": ratio, "excess": excess, "loss_trend": fall}
    if usual is not None and ratio >= large * usual:  # "before" in the evidence means that the run was healthy
        evidence["before"] = usual
    since = view.active.get(ailment, _first_recent_step(view))
    return Diagnosis(ailment, "critical", view.step, since, evidence)


def detect_learning_rate_too_low(view: RunView) -> Diagnosis | None:
    """Updates too small for progress: from the start, or suddenly."""
    return _detect_collapsed_updates(view) or _detect_small_rate(view)


def _detect_collapsed_updates(view: RunView) -> Diagnosis | None:
    """Updates that suddenly became a small part of their former size, which no schedule does."""
    levels = view.levels("update_ratio", HABIT_LEVELS, spacing=MEASURED_EVERY_STEPS)
    before, now = levels[:-COLLAPSED_LEVELS], levels[-COLLAPSED_LEVELS:]
    if len(before) < MIN_HABIT_LEVELS:
        return None
    usual, largest = statistics.median(value for _, value in before), max(value for _, value in now)
    if largest >= usual / COLLAPSE_FACTOR:
        return None
    evidence = {"update_ratio": largest, "before": usual}
    return Diagnosis("learning_rate_too_low", "warning", view.step, now[0][0], evidence)


def _detect_small_rate(view: RunView) -> Diagnosis | None:
    """A rate far below the recipe's while nothing is learnt yet, and hardly any progress."""
    ratio, fall, rates = typical_update_ratio(view), _loss_trend(view), view.values("learning_rate", 1)
    if ratio is None or fall is None or not rates or view.phase != "pre_alignment":
        return None
    if not view.points("free_diagonality") or rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None  # a model that is fine-tuned may speak already; the schedule or an intervention lowers the rate
    if view.attempt_steps < view.facts.warmup_steps + view.facts.window_steps // 2:
        return None
    share = _recipe_factor(view)
    small, tiny = (SMALL / 2, TINY / 2) if "learning_rate_too_low" in view.active else (SMALL, TINY)
    if share < small or (share < tiny and fall < FALLING):
        return None
    evidence = {"update_ratio": ratio, "share_of_recipe": 1 / share, "loss_trend": fall}
    return Diagnosis("learning_rate_too_low", "warning", view.step, _first_recent_step(view), evidence)


def _recipe_factor(view: RunView) -> float:
    """The recipe's learning rate as a multiple of the present one; 1 where the run started near the recipe's."""
    knob, now = view.facts.knobs.get("learning_rate_multiplier"), view.knobs.get("learning_rate_multiplier")
    return 1.0 if knob is None or knob.preset is None or not now else knob.preset / now


def _loss_trend(view: RunView) -> float | None:
    """Change of the loss's logarithm in a window."""
    trend = slope(view.log_levels("total_loss", STRIDES_PER_WINDOW))
    return None if trend is None else trend * view.facts.window_steps


def _first_recent_step(view: RunView) -> int:
    return _recent_ratios(view)[0][0]
