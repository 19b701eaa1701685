"""Detector of overfitting: a held-out loss rises while the training loss still falls, and speech gets worse."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from smart_tuner.detectors.series import median_level
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import Points, RunView

MIN_EVALUATIONS, NOISY_EVALUATIONS = 3, 5
TRAINING_FALL = math.log(0.95)
ENTER_MARGIN, LEAVE_MARGIN = 2.0, 1.0  # of the noise of the distance between speech and recordings
LEAST_NOISE, LARGEST_NOISE = 0.005, 0.02  # of that distance, which falls quickly at first
RECENT_CHANGES = 12
LONG_AGO = 20  # windows: the history's points are a hundredth of their age apart


def detect_overfitting(view: RunView) -> Diagnosis | None:
    """A held-out loss that rises, unless speech is as good as ever: that loss follows recordings, not itself."""
    loss = view.facts.spectrum_loss
    diagnosis = detect_held_out_rise(view, ailment="overfitting", loss=loss, enter_rise=1.10, leave_rise=1.03)
    if diagnosis is None or _is_speech_as_good(view):
        return None
    return diagnosis


def _is_speech_as_good(view: RunView) -> bool:
    """Whether free-running speech is as near to the recordings as it has ever been, but for noise."""
    distances = view.points("mel_distance")
    if len(distances) < NOISY_EVALUATIONS:
        return False
    smoothed = [value for _, value in _medians_of_three(distances)]
    noise = statistics.median(
        abs(later - earlier) for (_, earlier), (_, later) in pairwise(distances[-RECENT_CHANGES:])
    )
    margin = LEAVE_MARGIN if "overfitting" in view.active else ENTER_MARGIN
    noise = min(LARGEST_NOISE * smoothed[-1], max(LEAST_NOISE * smoothed[-1], noise))
    return smoothed[-1] <= min(smoothed) + margin * noise


def detect_held_out_rise(
    view: RunView, *, ailment: str, loss: str, enter_rise: float, leave_rise: float
) -> Diagnosis | None:
    """A held-out loss above its best by more than the given factor, while the training loss has fallen since."""
    losses = view.log_points(f"val_{loss}")
    if len(losses) <= MIN_EVALUATIONS:
        return None
    best_step, best = min(_medians_of_three(losses), key=lambda point: point[1])
    later = [value for step, value in losses if step > best_step]
    rise = leave_rise if ailment in view.active else enter_rise
    training = view.log_points(loss)
    if not training or not _is_above(best + math.log(rise), later):
        return None
    window = view.facts.window_steps
    # long ago, the history has few points
    longer = max(window, (view.step - best_step) // LONG_AGO)
    now, then = median_level(training, view.step, window), median_level(training, best_step, longer)
    if now is None or then is None or now > then + TRAINING_FALL:
        return None
    logarithms = {f"val_{loss}": later[-1], "best": best, loss: now, f"{loss}_then": then}
    return Diagnosis(ailment, "warning", view.step, best_step, view.facts.measured_values(loss, **logarithms))


def _is_above(limit: float, losses: Sequence[float]) -> bool:
    """Whether the last three losses all lie above it or, for noisy ones, most of the last five."""
    if len(losses) >= MIN_EVALUATIONS and min(losses[-MIN_EVALUATIONS:]) >= limit:
        return True
    return len(losses) >= NOISY_EVALUATIONS and statistics.median(losses[-NOISY_EVALUATIONS:]) >= limit


def _medians_of_three(losses: Points) -> Points:
    """Smoothed losses: the lowest of many noisy values is low by chance."""
    triples = zip(losses, losses[1:], losses[2:], strict=False)
    return [(step, statistics.median((before, value, after))) for (_, before), (step, value), (_, after) in triples]
