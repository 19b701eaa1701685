"""Detectors of exploding and vanishing gradients, and of steps that were not finite."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from smart_tuner.detectors.series import measure_baseline
from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.inputs.run_view import RunView

# exploding_gradient
RECENT_STEPS = 10
EXTREME_DEVIATIONS = 6.0  # spreads above the baseline; healthy runs stay below 4.5
MIN_SPREAD = 0.3
BASELINE_STEPS = 10
CRITICAL_FACTOR = 300.0  # times the threshold: an explosion whatever the baseline is
ENTER_STEPS, STAY_STEPS = 5, 2  # extreme ones among the recent steps
CRITICAL_STEPS = 2  # a single norm of any size is harmless: it is clipped, and the next step shows whether it lasts

# vanishing_gradient
VANISHED_SHARE = 1e-5  # of the threshold
LEAVE_FACTOR = 3.0

# nonfinite_step
NONFINITE_WINDOW_STEPS = 20
WARNING_EVENTS, CRITICAL_EVENTS = 3, 10


def detect_exploding_gradient(view: RunView) -> Diagnosis | None:
    """Several recent norms far above the threshold and the run's own baseline, which may be high at the start."""
    recent = view.points("gradient_norm", RECENT_STEPS)
    threshold = view.quality.gradient_norm_threshold
    if not recent or max(value for _, value in recent) <= threshold:
        return None
    baseline = measure_baseline(_norm_logs_before(view), least_spread=MIN_SPREAD)
    comparable = baseline if baseline is not None and baseline.count >= BASELINE_STEPS else None
    limit = CRITICAL_FACTOR * threshold
    extreme = [
        (step, value)
        for step, value in recent
        if value > limit
        or (comparable and value > threshold and comparable.deviations(math.log(value)) > EXTREME_DEVIATIONS)
    ]
    largest = max((value for _, value in extreme), default=0.0)
    is_critical = sum(value > limit for _, value in extreme) >= CRITICAL_STEPS
    enough = STAY_STEPS if "exploding_gradient" in view.active else ENTER_STEPS
    if len(extreme) < enough and not is_critical:
        return None  # clipping makes a few jumps harmless
    evidence = {"gradient_norm": largest, "threshold": threshold, "steps": float(len(extreme))}
    if baseline is not None:
        evidence["deviations"] = baseline.deviations(math.log(largest))
    severity: Severity = "critical" if is_critical else "warning"
    return Diagnosis("exploding_gradient", severity, view.step, extreme[0][0], evidence)


def _norm_logs_before(view: RunView) -> list[float]:
    """Logarithms of the norms in the window before the recent steps."""
    points = view.log_points("gradient_norm", view.facts.window_steps + RECENT_STEPS)
    return [value for step, value in points if step <= view.step - RECENT_STEPS]


def detect_vanishing_gradient(view: RunView) -> Diagnosis | None:
    """Norms too small for any learning, while the loss is still above its target."""
    window = view.facts.window_steps
    points, losses = view.points("gradient_norm", window), view.log_points("total_loss", window)
    if len(points) < window // 2 or not losses:
        return None
    norm, loss = (statistics.median(value for _, value in series) for series in (points, losses))
    limit = VANISHED_SHARE * view.quality.gradient_norm_threshold
    limit *= LEAVE_FACTOR if "vanishing_gradient" in view.active else 1
    if norm >= limit or loss <= math.log(view.quality.loss_target):
        return None
    since = next(step for step, value in points if value < limit)
    evidence = {"gradient_norm": norm, "limit": limit, **view.facts.measured_values("total_loss", total_loss=loss)}
    return Diagnosis("vanishing_gradient", "warning", view.step, since, evidence)


def detect_nonfinite_step(view: RunView) -> Diagnosis | None:
    """Steps whose loss or gradient was not finite: a single one is a notice, several in a short time an ailment."""
    counts = view.points("nonfinite_steps", NONFINITE_WINDOW_STEPS + 1)
    if len(counts) < 2:
        return None
    ignored_until = _loss_scale_search_end(view)
    events = [step for (_, before), (step, now) in pairwise(counts) if now > before and step > ignored_until]
    if not events:
        return None
    severity: Severity = "notice"
    if len(events) >= WARNING_EVENTS:
        severity = "critical" if len(events) >= CRITICAL_EVENTS else "warning"
    evidence = {"nonfinite_steps": counts[-1][1], "of_the_last": float(len(counts) - 1), "were": float(len(events))}
    return Diagnosis("nonfinite_step", severity, view.step, events[0], evidence)


def _loss_scale_search_end(view: RunView) -> int:
    """First finite step, if it is early: float16 halves a loss scale that is too large until a step is finite."""
    if view.attempt_steps > 2 * NONFINITE_WINDOW_STEPS:
        return view.attempt_start
    finite = view.points("total_loss")
    first = finite[0][0] if finite else view.step
    return first if first - view.attempt_start <= CRITICAL_EVENTS else view.attempt_start
