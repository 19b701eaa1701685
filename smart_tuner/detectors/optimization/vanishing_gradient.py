"""Gradients so small that nothing is learnt any more, while the loss is still bad."""

from __future__ import annotations

import math
import statistics

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

SHARE_OF_THRESHOLD = 1e-5
LEAVE_FACTOR = 3.0


def detect(view: RunView) -> Diagnosis | None:
    window = view.facts.window_steps
    points, losses = view.points("gradient_norm", window), view.log_points("total_loss", window)
    if len(points) < window // 2 or not losses:
        return None
    norm, loss = (statistics.median(value for _, value in series) for series in (points, losses))
    limit = SHARE_OF_THRESHOLD * view.quality.gradient_norm_threshold
    limit *= LEAVE_FACTOR if "vanishing_gradient" in view.active else 1
    if norm >= limit or loss <= math.log(view.quality.loss_target):
        return None
    since = next(step for step, value in points if value < limit)
    evidence = {"gradient_norm": norm, "limit": limit, **view.facts.as_told("total_loss", total_loss=loss)}
    return Diagnosis("vanishing_gradient", "warning", view.step, since, evidence)
