"""A flow whose loss leaps up, crawls back and leaps again: each time it unlearns what it had learnt since the last."""

from __future__ import annotations

import statistics

from smart_tuner.detectors.series import Points, roughness
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

LOOK_BACK_STEPS, ENOUGH_STEPS = 200, 60
NEAR_STEPS = 5
LEAST_HEIGHT = 0.3  # nats a mel value
ROUGH = 6.0  # times the spread of the changes from step to step
ENTER_TEETH, LEAVE_TEETH = 4, 1
LEAST_FALL = 0.2  # nats, of the loss between the leaps: what falls by more gets somewhere


def detect(view: RunView) -> Diagnosis | None:
    is_active = "sawtooth_loss" in view.active  # then only what came after a remedy counts
    points = view.points("nll_loss", 2 * view.facts.window_steps if is_active else LOOK_BACK_STEPS)
    if not is_active and len(points) < ENOUGH_STEPS:
        return None
    teeth, enough = leaps(points), LEAVE_TEETH if is_active else ENTER_TEETH
    if len(teeth) < enough:
        return None
    fall = _floor(points[: len(points) // 3]) - _floor(points[-len(points) // 3 :])
    if fall > LEAST_FALL:
        return None
    height = statistics.median(height for _, height in teeth)
    evidence = {"teeth": float(len(teeth)), "height": height, "net_fall": fall}
    return Diagnosis("sawtooth_loss", "critical", view.step, view.active.get("sawtooth_loss", teeth[0][0]), evidence)


def leaps(points: Points) -> list[tuple[int, float]]:
    """Steps at which the loss rose far above the steps before, and by how much; a leap of several steps counts once."""
    values = [value for _, value in points]
    least = max(LEAST_HEIGHT, ROUGH * roughness(values))
    found: list[tuple[int, float]] = []
    for i in range(NEAR_STEPS, len(points)):
        step, height = points[i][0], values[i] - statistics.median(values[i - NEAR_STEPS : i])
        if height >= least and (not found or step > found[-1][0] + NEAR_STEPS):
            found.append((step, height))
    return found


def _floor(points: Points) -> float:
    return statistics.quantiles([value for _, value in points], n=4)[0]
