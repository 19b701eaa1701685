"""What both gate ailments ask: attention is there, yet speech ends at the wrong place for too many utterances."""

from __future__ import annotations

import math

from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import Points, RunView

MOST, MOST_EVALUATIONS = 0.75, 4  # of the utterances: while a gate is learnt it is wrong for as many three times
MOST_EVALUATIONS_BY_WEIGHT = 2  # of those, when the gate's weight in the loss says why
FAR_FROM_BALANCED = 8.0  # times
DROWNING = 50.0  # times
MANY_EVALUATIONS = 8  # so long a gate may swing while it is learnt
PATIENCE_EVALUATIONS = 2  # a share on its way below the limit gets there without help


def misplaced_end(view: RunView, *, ailment: str, signal: str) -> Diagnosis | None:
    """The share `signal` of utterances stays high: most of them four times, or more than allowed eight times."""
    shares, aligned = view.points(signal), _attention(view)
    by_weight = _weight_is_off(view, too_high=signal == "gate_premature")
    needed = _needed_attention(view, by_weight=by_weight, cuts_off=signal == "gate_premature")
    if not shares or not aligned or aligned[-1][1] < needed:
        return None
    is_active = ailment in view.active
    wanted = view.quality.gate_accuracy_target if is_active else view.quality.gate_accuracy_threshold
    limit = round(1 - wanted, 9)
    if is_active:
        told = shares[-1:] if shares[-1][1] > limit else []
    else:
        times = MOST_EVALUATIONS_BY_WEIGHT if by_weight else MOST_EVALUATIONS
        told = _most_are_wrong(shares, times) or _many_stay_wrong(view, shares, aligned, limit)
    if not told:
        return None
    evidence = {signal: shares[-1][1], "limit": limit}
    for name in ("gate_accuracy", "stop_rate", "calibrated_gate_threshold"):
        if points := view.points(name):
            evidence[name] = points[-1][1]
    return Diagnosis(ailment, "warning", view.step, view.active.get(ailment, told[0][0]), evidence)


def _needed_attention(view: RunView, *, by_weight: bool, cuts_off: bool) -> float:
    """Without it nobody knows where the end is; a weight that drowns all else keeps it from forming at all."""
    weight, balanced = view.knobs.get("gate_positive_weight", 0.0), view.facts.balanced_gate_weight or math.inf
    if cuts_off and weight >= DROWNING * balanced:
        return 0.0
    threshold = view.quality.attention_diagonality_threshold
    return threshold if by_weight else (threshold + view.quality.attention_diagonality_target) / 2


def _attention(view: RunView) -> Points:
    """Diagonality, teacher-forced or free-running, whichever shows more."""
    free = dict(view.points("free_diagonality"))
    return [(step, max(value, free.get(step, 0.0))) for step, value in view.points("diagonality")]


def _weight_is_off(view: RunView, *, too_high: bool) -> bool:
    balanced, weight = view.facts.balanced_gate_weight, view.knobs.get("gate_positive_weight")
    if not balanced or not weight:
        return False
    return (weight / balanced if too_high else balanced / weight) >= FAR_FROM_BALANCED


def _most_are_wrong(shares: Points, times: int) -> Points:
    """The evaluations that show it, so many of the last four and the very last; none if they do not."""
    wrong = [(step, value) for step, value in shares[-MOST_EVALUATIONS:] if value >= MOST]
    return wrong if len(wrong) >= times and wrong[-1] == shares[-1] else []


def _many_stay_wrong(view: RunView, shares: Points, aligned: Points, limit: float) -> Points:
    recent, attention = shares[-MANY_EVALUATIONS:], aligned[-MANY_EVALUATIONS:]
    beyond_doubt = limit + _standard_error(limit, view.facts.evaluated_utterances)
    if min(len(recent), len(attention)) < MANY_EVALUATIONS or min(value for _, value in recent) <= beyond_doubt:
        return []
    if min(value for _, value in attention) < view.quality.attention_diagonality_target:
        return []
    horizon = PATIENCE_EVALUATIONS * view.facts.steps_per_evaluation
    return recent if recent[-1][1] + (slope(recent) or 0.0) * horizon > limit else []


def _standard_error(share: float, n: int) -> float:
    """Of a share among n utterances, which are the same at every evaluation; none where n is not known."""
    return math.sqrt(share * (1 - share) / n) if n else 0.0
