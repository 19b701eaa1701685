"""Attention has had its time and is no diagonal, nor on its way to become one."""

from __future__ import annotations

from smart_tuner.detectors.series import Points, slope
from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.view import View

LEAST_EVALUATIONS = 2
TREND_EVALUATIONS = 4


def detect(view: View) -> Diagnosis | None:
    patience = view.facts.alignment_patience_steps
    free, forced = view.points("free_diagonality"), view.points("diagonality")
    if not patience or len(free) < LEAST_EVALUATIONS or not forced or view.steps_done < patience:
        return None
    enough = view.quality.attention_diagonality_threshold
    best = max(value for _, value in free)
    if view.steps_done >= 2 * patience and best < view.quality.attention_diagonality_target:
        enough = view.quality.attention_diagonality_target  # half formed is not enough for ever
    latest, trend = max(free[-1][1], forced[-1][1]), _trend(free)
    expected = latest + trend * patience / 2
    if best >= enough or latest >= enough or expected >= enough:
        return None
    severity: Severity = "critical" if view.steps_done >= 3 * patience else "warning"
    evidence = {"diagonality": forced[-1][1], "free_diagonality": free[-1][1], "best": best, "expected": expected}
    return Diagnosis("attention_not_forming", severity, view.step, free[0][0], evidence)


def _trend(free: Points) -> float:
    return slope(free[-TREND_EVALUATIONS:]) or 0.0
