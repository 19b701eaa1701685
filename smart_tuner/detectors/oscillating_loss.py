"""A loss that goes up and down by much and gets nowhere: a saw."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import View

TEETH = 12
ENTER_SWING, LEAVE_SWING = 0.25, 0.15  # of the loss, in its logarithm
TURNS_SHARE = 0.6


def detect(view: View) -> Diagnosis | None:
    window = 2 * view.facts.window_steps
    points = [(step, math.log(value)) for step, value in view.points("total_loss", window) if value > 0]
    if len(points) < window * 3 // 4:
        return None
    size = len(points) // TEETH
    levels = [statistics.median(v for _, v in points[i * size : (i + 1) * size]) for i in range(TEETH)]
    moves = [later - sooner for sooner, later in pairwise(levels)]
    turns = sum(first * second < 0 for first, second in pairwise(moves)) / (len(moves) - 1)
    swing = statistics.median(abs(move) for move in moves)
    net_fall = statistics.fmean(levels[: TEETH // 3]) - statistics.fmean(levels[-TEETH // 3 :])
    limit = LEAVE_SWING if "oscillating_loss" in view.active else ENTER_SWING
    if swing < limit or turns < TURNS_SHARE or net_fall > swing:
        return None
    evidence = {"swing": swing, "turns_share": turns, "net_fall": net_fall}
    return Diagnosis("oscillating_loss", "warning", view.step, points[0][0], evidence)
