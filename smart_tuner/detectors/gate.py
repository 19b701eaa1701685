"""What both gate ailments ask: attention is there, yet speech ends at the wrong place for too many utterances."""

from __future__ import annotations

from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import Points, View

MOST, MOST_EVALUATIONS = 0.75, 3  # of the utterances: a gate that is learning is wrong for as many, but not for so long
MANY_EVALUATIONS = 5
PATIENCE_EVALUATIONS = 2  # a share on its way below the limit gets there without help


def misplaced_end(view: View, *, ailment: str, signal: str) -> Diagnosis | None:
    """The share `signal` of utterances stays high: most of them three times, or more than allowed five times."""
    shares, aligned = view.points(signal), view.points("diagonality")
    if not shares or not aligned or aligned[-1][1] < _half_a_diagonal(view):
        return None  # without attention nobody knows where the end is
    is_active = ailment in view.active
    wanted = view.quality.gate_accuracy_target if is_active else view.quality.gate_accuracy_threshold
    limit = round(1 - wanted, 9)
    if is_active:
        told = shares[-1:] if shares[-1][1] > limit else []
    else:
        told = _most_are_wrong(shares) or _many_stay_wrong(view, shares, aligned, limit)
    if not told:
        return None
    evidence = {signal: shares[-1][1], "limit": limit}
    for name in ("gate_accuracy", "stop_rate", "calibrated_gate_threshold"):
        if points := view.points(name):
            evidence[name] = points[-1][1]
    return Diagnosis(ailment, "warning", view.step, view.active.get(ailment, told[0][0]), evidence)


def _half_a_diagonal(view: View) -> float:
    return (view.quality.attention_diagonality_threshold + view.quality.attention_diagonality_target) / 2


def _most_are_wrong(shares: Points) -> Points:
    """The evaluations that show it; none if they do not."""
    recent = shares[-MOST_EVALUATIONS:]
    return recent if len(recent) == MOST_EVALUATIONS and min(value for _, value in recent) >= MOST else []


def _many_stay_wrong(view: View, shares: Points, aligned: Points, limit: float) -> Points:
    recent, attention = shares[-MANY_EVALUATIONS:], aligned[-MANY_EVALUATIONS:]
    if min(len(recent), len(attention)) < MANY_EVALUATIONS or min(value for _, value in recent) <= limit:
        return []
    if min(value for _, value in attention) < view.quality.attention_diagonality_target:
        return []
    horizon = PATIENCE_EVALUATIONS * view.facts.steps_per_evaluation
    return recent if recent[-1][1] + (slope(recent) or 0.0) * horizon > limit else []
