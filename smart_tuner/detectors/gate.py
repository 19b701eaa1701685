"""What both gate ailments ask: attention is there, yet speech ends at the wrong place for too many utterances."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import View

EVALUATIONS = 2


def misplaced_end(view: View, *, ailment: str, signal: str) -> Diagnosis | None:
    """The share `signal` of utterances above what gate accuracy leaves for it, at two evaluations in a row."""
    shares, aligned = view.points(signal)[-EVALUATIONS:], view.points("diagonality")[-EVALUATIONS:]
    if len(shares) < EVALUATIONS or len(aligned) < EVALUATIONS:
        return None
    if min(value for _, value in aligned) < view.quality.attention_diagonality_target:
        return None  # without attention nobody knows where the end is
    wanted = view.quality.gate_accuracy_target if ailment in view.active else view.quality.gate_accuracy_threshold
    if min(value for _, value in shares) <= 1 - wanted:
        return None
    evidence = {signal: shares[-1][1], "limit": 1 - wanted}
    for name in ("gate_accuracy", "stop_rate", "calibrated_gate_threshold"):
        if points := view.points(name):
            evidence[name] = points[-1][1]
    return Diagnosis(ailment, "warning", view.step, shares[0][0], evidence)
