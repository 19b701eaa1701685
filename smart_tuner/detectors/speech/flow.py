"""Detector of an exploding flow: hard to invert, or with a log-determinant that grows without a better likelihood."""

from __future__ import annotations

import math
import statistics

from smart_tuner.detectors.series import measure_baseline
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import STRIDES_PER_WINDOW
from smart_tuner.inputs.run_view import RunView

BOUNDS = {
    "convolution_condition": 1e3,  # several such layers lose the mel in float32
    "actnorm_scale": 1e4,  # a channel that never changes starts at 1e3
    "latent_deviation": 10.0,  # latents should have a deviation of 1
}
LEAVE_SHARE = 0.5
MEASURED_EVERY_STEPS = 10
RECENT_LEVELS = 10
MIN_BASELINE_LEVELS = 10
ENTER_SHIFT, LEAVE_SHIFT = 1.0, 0.5  # nats per mel value, of the log-determinant
LEARNING_SHARE = 0.5  # of the shift: a likelihood that gains as much means that the flow learns
PART_PREFIX = "gradient_norm_"
EXTREME_DEVIATIONS, MIN_SPREAD = 6.0, 0.3
EXTREME_LEVELS = 3  # of a part's gradient norm, in a row
PART_LEVELS = 26  # these and the baseline


def detect_exploding_flow(view: RunView) -> Diagnosis | None:
    evidence = _signals_beyond_bounds(view) | _shifted_determinant(view) | _exploding_parts(view)
    if not evidence:
        return None
    recent_start = view.step - RECENT_LEVELS * view.facts.stride_steps + 1
    since = view.active.get("exploding_flow", max(view.attempt_start + 1, recent_start))
    return Diagnosis("exploding_flow", "critical", view.step, since, evidence)


def _signals_beyond_bounds(view: RunView) -> dict[str, float]:
    share = LEAVE_SHARE if "exploding_flow" in view.active else 1.0
    recent = {name: view.levels(name, 1, spacing=MEASURED_EVERY_STEPS) for name in BOUNDS}
    levels = {name: points[-1][1] for name, points in recent.items() if points}
    return {name: level for name, level in levels.items() if level > share * BOUNDS[name]}


def _shifted_determinant(view: RunView) -> dict[str, float]:
    """A log-determinant that has moved far, while the likelihood gained little of it."""
    before, now = _levels_before_and_now(view, "logdet")
    nll_before, nll_now = _levels_before_and_now(view, "nll_loss")
    if now is None or before is None or nll_now is None or nll_before is None:
        return {}
    shift = abs(now - before)
    limit = LEAVE_SHIFT if "exploding_flow" in view.active else ENTER_SHIFT
    if shift <= limit or nll_before - nll_now >= LEARNING_SHARE * shift:
        return {}
    return {"logdet": now, "before": before}


def _levels_before_and_now(view: RunView, name: str) -> tuple[float | None, float | None]:
    """Medians of the window before the last one, and of its last few levels."""
    stride, window = view.facts.stride_steps, STRIDES_PER_WINDOW
    points = view.levels(name, 2 * window)
    before = [value for step, value in points if step <= view.step - window * stride]
    recent = [value for step, value in points if step > view.step - RECENT_LEVELS * stride]
    if len(recent) < RECENT_LEVELS // 2 or len(before) < MIN_BASELINE_LEVELS:
        return None, None
    return statistics.median(before), statistics.median(recent)


def _exploding_parts(view: RunView) -> dict[str, float]:
    """Gradient norms of parts far above their own baseline."""
    factor = math.log(view.quality.gradient_norm_threshold)
    exploding = {}
    for name in view.history.names:
        if not name.startswith(PART_PREFIX):
            continue
        levels = view.log_levels(name, PART_LEVELS, spacing=MEASURED_EVERY_STEPS)
        before = [value for _, value in levels[: -2 * EXTREME_LEVELS]]
        baseline = measure_baseline(before, least_spread=MIN_SPREAD)
        if baseline is None or baseline.count < MIN_BASELINE_LEVELS:
            continue
        least = min(value for _, value in levels[-EXTREME_LEVELS:])
        if least > baseline.median + factor and baseline.deviations(least) > EXTREME_DEVIATIONS:
            exploding[name] = math.exp(least)
    return exploding
