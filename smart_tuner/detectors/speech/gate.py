"""Detectors of a gate that ends speech too late (gate_never_fires) or too early (premature_stop)."""

from __future__ import annotations

import math

from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import Points, RunView

MOST_UTTERANCES, RECENT_EVALUATIONS = 0.75, 4  # a gate that is still learning fails for as many up to three times
ENOUGH_BY_WEIGHT = 2  # of those evaluations, when the gate's weight in the loss explains the failure
OFF_BALANCE_FACTOR = 8.0
DOMINATING_FACTOR = 50.0
MANY_EVALUATIONS = 8  # so long the share may fluctuate while the gate is learning
TREND_EVALUATIONS = 2  # a share that falls below the limit within this time needs no help


def detect_gate_never_fires(view: RunView) -> Diagnosis | None:
    return _detect_misplaced_ends(view, ailment="gate_never_fires", signal="gate_overrun")


def detect_premature_stop(view: RunView) -> Diagnosis | None:
    return _detect_misplaced_ends(view, ailment="premature_stop", signal="gate_premature")


def _detect_misplaced_ends(view: RunView, *, ailment: str, signal: str) -> Diagnosis | None:
    """Too large a share of utterances with a misplaced end, although attention is good enough to find the end."""
    shares, attention = view.points(signal), _attention(view)
    is_premature = signal == "gate_premature"
    by_weight = _is_weight_off_balance(view, too_high=is_premature)
    if not shares or not attention or attention[-1][1] < _needed_attention(view, by_weight, is_premature):
        return None
    is_active = ailment in view.active
    accuracy = view.quality.gate_accuracy_target if is_active else view.quality.gate_accuracy_threshold
    limit = round(1 - accuracy, 9)
    if is_active:
        failing = shares[-1:] if shares[-1][1] > limit else []
    else:
        needed = ENOUGH_BY_WEIGHT if by_weight else RECENT_EVALUATIONS
        failing = _most_fail(shares, needed) or _many_keep_failing(view, shares, attention, limit)
    if not failing:
        return None
    evidence = {signal: shares[-1][1], "limit": limit}
    for name in ("gate_accuracy", "stop_rate", "calibrated_gate_threshold"):
        if points := view.points(name):
            evidence[name] = points[-1][1]
    return Diagnosis(ailment, "warning", view.step, view.active.get(ailment, failing[0][0]), evidence)


def _needed_attention(view: RunView, by_weight: bool, is_premature: bool) -> float:
    """Diagonality from which the model can know the end; a dominating gate weight keeps attention from forming."""
    weight, balanced = view.knobs.get("gate_positive_weight", 0.0), view.facts.balanced_gate_weight or math.inf
    if is_premature and weight >= DOMINATING_FACTOR * balanced:
        return 0.0
    return view.failing_diagonality if by_weight else view.formed_diagonality


def _attention(view: RunView) -> Points:
    """The larger of the teacher-forced and the free-running diagonality."""
    free = dict(view.points("free_diagonality"))
    return [(step, max(value, free.get(step, 0.0))) for step, value in view.points("diagonality")]


def _is_weight_off_balance(view: RunView, *, too_high: bool) -> bool:
    balanced, weight = view.facts.balanced_gate_weight, view.knobs.get("gate_positive_weight")
    if not balanced or not weight:
        return False
    return (weight / balanced if too_high else balanced / weight) >= OFF_BALANCE_FACTOR


def _most_fail(shares: Points, needed: int) -> Points:
    """Recent evaluations in which most utterances failed; empty if too few, or if the latest is not one of them."""
    failing = [(step, share) for step, share in shares[-RECENT_EVALUATIONS:] if share >= MOST_UTTERANCES]
    return failing if len(failing) >= needed and failing[-1] == shares[-1] else []


def _many_keep_failing(view: RunView, shares: Points, attention: Points, limit: float) -> Points:
    """Recent evaluations, if all of them lie significantly above the limit and no trend leads below it."""
    recent, recent_attention = shares[-MANY_EVALUATIONS:], attention[-MANY_EVALUATIONS:]
    significant = limit + _standard_error(limit, view.facts.evaluated_utterances)
    if min(len(recent), len(recent_attention)) < MANY_EVALUATIONS or min(share for _, share in recent) <= significant:
        return []
    if min(value for _, value in recent_attention) < view.healthy_diagonality:
        return []
    horizon = TREND_EVALUATIONS * view.facts.steps_per_evaluation
    return recent if recent[-1][1] + (slope(recent) or 0.0) * horizon > limit else []


def _standard_error(share: float, n: int) -> float:
    """Standard error of a share of n utterances; 0 where n is not known."""
    return math.sqrt(share * (1 - share) / n) if n else 0.0
