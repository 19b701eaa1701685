"""Attention was a diagonal and is none any more."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

FALLEN_SHARE, RISEN_SHARE = 0.5, 0.8  # of its best


def detect(view: RunView) -> Diagnosis | None:
    free, forced = view.points("free_diagonality"), view.values("diagonality")
    if not view.facts.alignment_patience_steps or len(free) < 2:
        return None
    best = max(value for _, value in free)
    if best < view.quality.attention_diagonality_target:
        return None
    last_good = max(step for step, value in free if value >= RISEN_SHARE * best)
    latest, before = free[-1][1], free[-2][1]
    is_forced_well = bool(forced) and forced[-1] >= view.quality.attention_diagonality_target
    gone = latest < view.quality.attention_diagonality_threshold and not is_forced_well  # no slip of a few decodes
    lost = gone or max(latest, before) < FALLEN_SHARE * best or "attention_lost" in view.active
    if not lost or latest >= RISEN_SHARE * best:
        return None
    evidence = {"free_diagonality": latest, "best": best, "last_good_step": float(last_good)}
    return Diagnosis("attention_lost", "critical", view.step, last_good + 1, evidence)
