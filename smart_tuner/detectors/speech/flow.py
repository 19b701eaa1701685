"""A flow that stretches space ever more: soon it can hardly be inverted, or is likely only where nobody speaks."""

from __future__ import annotations

import math
import statistics

from smart_tuner.detectors.series import habit_of
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

BOUNDS = {
    "convolution_condition": 1e3,  # with several such layers float32 loses the mel
    "actnorm_scale": 1e4,  # that of a channel which never changes begins at 1e3
    "latent_deviation": 10.0,  # of latents that are to be spread by 1
}
LEAVE_SHARE = 0.5
RECENT_STEPS = 10
ENOUGH = 10  # values of a habit
RUN_AWAY, RETURNED = 1.0, 0.5  # nats a mel value that the log-determinant has moved
PAID_BACK = 0.5  # as much of that in the likelihood, and the flow just learns
PARTS = "gradient_norm_"
EXTREME_DEVIATIONS, LEAST_SPREAD = 6.0, 0.3
OFTEN = 3  # measurements of a part's gradient, all far above its habit
LOOK_BACK_STEPS = 260  # for those and for the habit, when one step of ten is measured


def detect(view: RunView) -> Diagnosis | None:
    evidence = _beyond_bounds(view) | _run_away(view) | _exploding_parts(view)
    if not evidence:
        return None
    since = view.active.get("exploding_flow", max(view.begin + 1, view.step - RECENT_STEPS + 1))
    return Diagnosis("exploding_flow", "critical", view.step, since, evidence)


def _beyond_bounds(view: RunView) -> dict[str, float]:
    share = LEAVE_SHARE if "exploding_flow" in view.active else 1.0
    recent = {name: view.values(name, RECENT_STEPS) for name in BOUNDS}
    levels = {name: statistics.median(values) for name, values in recent.items() if values}
    return {name: level for name, level in levels.items() if level > share * BOUNDS[name]}


def _run_away(view: RunView) -> dict[str, float]:
    """The log-determinant moves far, and the likelihood has little of it."""
    now, before = _then_and_now(view, "logdet")
    likely_now, likely_before = _then_and_now(view, "nll_loss")
    if now is None or before is None or likely_now is None or likely_before is None:
        return {}
    moved = abs(now - before)
    limit = RETURNED if "exploding_flow" in view.active else RUN_AWAY
    if moved <= limit or likely_before - likely_now >= PAID_BACK * moved:
        return {}
    return {"logdet": now, "before": before}


def _then_and_now(view: RunView, name: str) -> tuple[float | None, float | None]:
    """Medians of the last few steps, and of the window before the last one."""
    window = view.facts.window_steps
    points = view.points(name, 2 * window)
    recent = [value for step, value in points if step > view.step - RECENT_STEPS]
    before = [value for step, value in points if step <= view.step - window]
    if len(recent) < RECENT_STEPS // 2 or len(before) < ENOUGH:
        return None, None
    return statistics.median(recent), statistics.median(before)


def _exploding_parts(view: RunView) -> dict[str, float]:
    """Parts whose gradient is far above its habit, and above what is healthy for all of them together."""
    names = [name for name in view.history.names if name.startswith(PARTS)]
    found = {name: view.log_points(name, LOOK_BACK_STEPS) for name in names}
    threshold = math.log(view.quality.gradient_norm_threshold)
    exploding = {}
    for name, points in found.items():
        recent, before = points[-OFTEN:], points[: -2 * OFTEN][-2 * ENOUGH :]
        usual = habit_of([value for _, value in before], least_spread=LEAST_SPREAD)
        if usual is None or usual.count < ENOUGH:
            continue
        least = min(value for _, value in recent)
        if least > threshold and usual.deviations(least) > EXTREME_DEVIATIONS:
            exploding[name] = math.exp(least)
    return exploding
