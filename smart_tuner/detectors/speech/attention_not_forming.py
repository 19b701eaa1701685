"""Attention has had its time and is no diagonal, nor on its way to become one."""

from __future__ import annotations

from smart_tuner.detectors.series import Points, slope
from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.inputs.run_view import RunView

LEAST_EVALUATIONS = 2
TREND_EVALUATIONS = 4


def detect(view: RunView) -> Diagnosis | None:
    patience = view.facts.alignment_patience_steps
    free, forced = view.points("free_diagonality"), view.points("diagonality")
    if not patience or len(free) < LEAST_EVALUATIONS or not forced or view.steps_done < patience:
        return None
    threshold, target = view.quality.attention_diagonality_threshold, view.quality.attention_diagonality_target
    enough = (threshold + target) / 2 if view.steps_done < 2 * patience else target  # half formed is not for ever
    best = max(value for _, value in free)
    latest = max(free[-1][1], forced[-1][1])
    expected = latest + _trend(free) * patience / 2
    if max(best, latest) >= enough or expected >= target:
        return None
    failing = latest < threshold  # a half formed one speaks: never hopeless
    severity: Severity = "critical" if failing and view.steps_done >= 3 * patience else "warning"
    evidence = {"diagonality": forced[-1][1], "free_diagonality": free[-1][1], "best": best, "expected": expected}
    return Diagnosis("attention_not_forming", severity, view.step, free[0][0], evidence)


def _trend(free: Points) -> float:
    return slope(free[-TREND_EVALUATIONS:]) or 0.0
