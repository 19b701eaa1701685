"""Detectors of exploding and vanishing gradients, and of steps that were not finite."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from smart_tuner.detectors.series import measure_baseline
from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.inputs.run_facts import STRIDES_PER_WINDOW
from smart_tuner.inputs.run_view import RunView

# exploding_gradient
RECENT_LEVELS, BASELINE_LEVELS = 10, STRIDES_PER_WINDOW
MIN_BASELINE_LEVELS = 10
EXTREME_DEVIATIONS = 6.0  # spreads above the baseline; healthy runs stay below 4.5
MIN_SPREAD = 0.3
CRITICAL_FACTOR = 300.0  # times the threshold
ENTER_LEVELS, STAY_LEVELS = 5, 2  # extreme ones among the recent ones
CRITICAL_LEVELS = 2  # a single norm of any size is harmless: it is clipped, and the next step shows whether it lasts

# vanishing_gradient
VANISHED_SHARE = 1e-4  # of the usual norm
LEAVE_FACTOR = 3.0

# nonfinite_step
NONFINITE_WINDOW_STEPS = 20
WARNING_EVENTS, CRITICAL_EVENTS = 3, 10


def detect_exploding_gradient(view: RunView) -> Diagnosis | None:
    """Several recent norms far above the run's own baseline."""
    ailment = "exploding_gradient"
    is_active = ailment in view.active
    recent = view.log_levels("gradient_norm", RECENT_LEVELS)
    before = view.log_levels_before(ailment, "gradient_norm", BASELINE_LEVELS, recent=RECENT_LEVELS)
    baseline = measure_baseline([value for _, value in before], least_spread=MIN_SPREAD)
    if baseline is None or baseline.count < MIN_BASELINE_LEVELS:
        return None
    quality = view.quality
    factor = quality.gradient_norm_target if is_active else quality.gradient_norm_threshold
    deviations = EXTREME_DEVIATIONS / 2 if is_active else EXTREME_DEVIATIONS
    limit = baseline.median + max(math.log(factor), deviations * baseline.spread)
    extreme = [level for level in recent if level[1] > limit]
    critical_limit = limit + math.log(CRITICAL_FACTOR)
    is_critical = sum(value > critical_limit for _, value in extreme) >= CRITICAL_LEVELS
    if len(extreme) < (STAY_LEVELS if is_active else ENTER_LEVELS) and not is_critical:
        return None
    largest = max(value for _, value in extreme)
    evidence = {
        "gradient_norm": math.exp(largest),
        "usual": math.exp(baseline.median),
        "steps": float(len(extreme) * view.facts.stride_steps),
        "deviations": baseline.deviations(largest),
    }
    severity: Severity = "critical" if is_critical else "warning"
    since = view.active.get(ailment, view.first_step_of(extreme[0]))
    return Diagnosis(ailment, severity, view.step, since, evidence)


def detect_vanishing_gradient(view: RunView) -> Diagnosis | None:
    """Norms that have become a tiny part of the run's usual ones."""
    ailment = "vanishing_gradient"
    until = min(view.step - view.facts.window_steps, view.active.get(ailment, view.step) - 1)
    norms = view.history.between("gradient_norm", view.attempt_start + 1, until)
    recent = view.levels("gradient_norm", STRIDES_PER_WINDOW)
    if len(recent) < STRIDES_PER_WINDOW // 2 or not norms:
        return None
    usual, norm = (statistics.median(value for _, value in series) for series in (norms, recent))
    limit = VANISHED_SHARE * usual * (LEAVE_FACTOR if ailment in view.active else 1)
    if norm > limit:
        return None
    first = next(level for level in recent if level[1] <= limit)
    evidence = {"gradient_norm": norm, "usual": usual}
    return Diagnosis(ailment, "warning", view.step, view.active.get(ailment, view.first_step_of(first)), evidence)


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
