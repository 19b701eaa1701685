"""A loss that goes up and down by much and gets nowhere: a saw."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from smart_tuner.detectors.series import roughness
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

TEETH = 12
ENTER_SWING, LEAVE_SWING = 0.25, 0.15  # of the loss, in its logarithm
TURNS_SHARE = 0.6
NOISE_SWING = 2.5  # of the spread of the changes from step to step, for levels of one step; noise makes about 0.85


def detect(view: RunView) -> Diagnosis | None:
    window = 2 * view.facts.window_steps
    points = view.log_points("total_loss", window)
    if len(points) < window * 3 // 4:
        return None
    size = len(points) // TEETH
    levels = [statistics.median(v for _, v in points[i * size : (i + 1) * size]) for i in range(TEETH)]
    moves = [later - sooner for sooner, later in pairwise(levels)]
    turns = sum(first * second < 0 for first, second in pairwise(moves)) / (len(moves) - 1)
    swing = statistics.median(abs(move) for move in moves)
    net_fall = statistics.fmean(levels[: TEETH // 3]) - statistics.fmean(levels[-TEETH // 3 :])
    limit = LEAVE_SWING if "oscillating_loss" in view.active else ENTER_SWING
    limit = max(limit, NOISE_SWING * roughness([value for _, value in points]) / math.sqrt(size))
    if swing < limit or turns < TURNS_SHARE or net_fall > swing:
        return None
    evidence = {"swing": swing, "turns_share": turns, "net_fall": net_fall}
    return Diagnosis("oscillating_loss", "warning", view.step, points[0][0], evidence)
