"""Detector of speech that has become worse than the run's own best, while the training loss is fine."""

from __future__ import annotations

import math
import statistics

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.held_out import SMOOTHED
from smart_tuner.inputs.run_view import RunView

ERRORS = 3.0
"""Standard errors over utterances that the rise must exceed."""
ENTER_RISE, LEAVE_RISE = math.log(1.1), math.log(1.03)
"""Of the distance, in its logarithm; healthy runs on real speech stay below a twelfth."""
MIN_UTTERANCES = 4
LEAST_ERROR = 1e-6


def detect_quality_regressed(view: RunView) -> Diagnosis | None:
    """Distances of free-running speech, each smoothed over three evaluations, above those of the best ones before."""
    ailment = "quality_regressed"
    smoothed = view.distances.smoothed(view.attempt_start + 1)
    earlier = [(step, values) for step, values in smoothed[:-SMOOTHED] if values and _had_formed(view, step)]
    if not earlier:
        return None
    best_step, best = min(earlier, key=lambda evaluation: statistics.fmean(evaluation[1].values()))
    rises = [smoothed[-1][1][id_] - best[id_] for id_ in best if id_ in smoothed[-1][1]]
    if len(rises) < MIN_UTTERANCES:
        return None
    rise, error = statistics.fmean(rises), statistics.stdev(rises) / math.sqrt(len(rises))
    is_active = ailment in view.active
    if rise < (LEAVE_RISE if is_active else ENTER_RISE) or rise < ERRORS * error:
        return None
    evidence = {
        "mel_distance": _distance(smoothed[-1][1]),
        "best": _distance(best),
        "deviations": rise / max(error, LEAST_ERROR),
    }
    return Diagnosis(ailment, "warning", view.step, view.active.get(ailment, best_step + 1), evidence)


def _had_formed(view: RunView, step: int) -> bool:
    """Whether an alignment had formed by a step: before, near-silence may be nearer to recordings than speech."""
    return any(at <= step and value >= view.formed_diagonality for at, value in view.points("free_diagonality"))


def _distance(values: dict[str, float]) -> float:
    """Geometric mean."""
    return math.exp(statistics.fmean(values.values()))
