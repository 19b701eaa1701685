"""Detectors of settings that keep a model from learning: far from the recipe, or a schedule that ends too early."""

from __future__ import annotations

import statistics

from smart_tuner.detectors.series import median_level
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

# settings_far_from_recipe
UNTIL_SHARE = 0.3  # of the plan: later, all learning has become slow
NEAR_PEAK = 0.5  # of the learning rate
SLOW_SHARE = 0.25  # of the mean fall since the start
MIN_WINDOWS = 3

# learning_stopped
STOPPED_RATE = 0.01  # of the peak
LEFT_SHARE = 0.3  # of the plan


def detect_settings_far_from_recipe(view: RunView) -> Diagnosis | None:
    """Learning that becomes slow at the peak rate, early in a plan whose settings are far from the recipe's."""
    far, rates = view.facts.preset_settings, view.values("learning_rate", 1)
    losses, window = view.log_points("total_loss"), view.facts.window_steps
    n_windows = view.attempt_steps / window
    if not far or not rates or rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None
    is_early = n_windows >= MIN_WINDOWS and view.attempt_steps <= UNTIL_SHARE * view.facts.planned_steps
    if not is_early or view.attempt_steps < view.facts.warmup_steps + 2 * window:
        return None
    now, before = median_level(losses, view.step, window), median_level(losses, view.step - window, window)
    first = median_level(losses, view.attempt_start + window // 3, window // 3)
    if now is None or before is None or first is None:
        return None
    fall, mean_fall = before - now, (first - now) / n_windows
    if mean_fall <= 0 or fall >= SLOW_SHARE * mean_fall:
        return None
    evidence = {"fall": fall, "mean_fall": mean_fall, **far}
    since = view.active.get("settings_far_from_recipe", view.step - window)
    return Diagnosis("settings_far_from_recipe", "warning", view.step, since, evidence)


def detect_learning_stopped(view: RunView) -> Diagnosis | None:
    """A learning rate that its schedule has brought near zero long before the plan ends."""
    rates, planned = view.values("learning_rate", view.facts.window_steps), view.facts.planned_steps
    if not rates or view.attempt_steps < view.facts.warmup_steps + view.facts.window_steps:
        return None
    multiplier = view.knobs.get("learning_rate_multiplier", 1.0) or 1.0  # the schedule's rate is without it
    left, rate = 1 - view.attempt_steps / planned, statistics.median(rates) / multiplier
    if left < LEFT_SHARE or rate >= STOPPED_RATE * view.facts.peak_learning_rate:
        return None
    evidence = {"learning_rate": rate, "peak": view.facts.peak_learning_rate, "left_share": left}
    since = view.active.get("learning_stopped", view.step - view.facts.window_steps)
    return Diagnosis("learning_stopped", "warning", view.step, since, evidence)
