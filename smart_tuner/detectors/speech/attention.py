"""Detectors of an alignment that does not form (attention_not_forming, alignment_not_forming) or is lost."""

from __future__ import annotations

from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis, Severity
from smart_tuner.inputs.run_view import RunView

MIN_EVALUATIONS = 2
TREND_EVALUATIONS = 4
HALF_FORMED_PATIENCE = 1.5  # times that of an alignment that has not begun
LOST_SHARE, RECOVERED_SHARE = 0.5, 0.8  # of the best diagonality


def detect_attention_not_forming(view: RunView) -> Diagnosis | None:
    """Attention that has found no diagonal after the time it may take."""
    return _detect_not_forming(view, "attention_not_forming", view.facts.alignment_patience_steps)


def detect_alignment_not_forming(view: RunView) -> Diagnosis | None:
    """The same of an alignment that is found by search."""
    return _detect_not_forming(view, "alignment_not_forming", view.facts.search_patience_steps)


def _detect_not_forming(view: RunView, ailment: str, patience: int) -> Diagnosis | None:
    """Diagonality that is below its target after the time it may take, and is not on its way there."""
    free, forced = view.points("free_diagonality"), view.points("diagonality")
    if not patience or len(free) < MIN_EVALUATIONS or not forced or view.attempt_steps < patience:
        return None
    enough = view.formed_diagonality if view.attempt_steps < 2 * patience else view.healthy_diagonality
    best = max(value for _, value in free)
    latest = max(free[-1][1], forced[-1][1])
    if latest >= view.failing_diagonality and view.attempt_steps < HALF_FORMED_PATIENCE * patience:
        return None  # it is usable, and often completes itself
    trend = slope(free[-TREND_EVALUATIONS:]) or 0.0
    expected = latest + trend * patience / 2
    if max(best, latest) >= enough or expected >= view.healthy_diagonality:
        return None
    # An alignment that has half formed is usable.
    is_critical = latest < view.failing_diagonality and view.attempt_steps >= 3 * patience
    severity: Severity = "critical" if is_critical else "warning"
    evidence = {"diagonality": forced[-1][1], "free_diagonality": free[-1][1], "best": best, "expected": expected}
    return Diagnosis(ailment, severity, view.step, free[0][0], evidence)


def detect_attention_lost(view: RunView) -> Diagnosis | None:
    """Diagonality that had reached its target and has fallen far below its best."""
    free, forced = view.points("free_diagonality"), view.values("diagonality")
    if not view.facts.alignment_patience_steps or len(free) < 2:
        return None
    best = max(value for _, value in free)
    if best < view.healthy_diagonality:
        return None
    last_good_step = max(step for step, value in free if value >= RECOVERED_SHARE * best)
    before, latest = free[-2][1], free[-1][1]
    is_forced_well = bool(forced) and forced[-1] >= view.healthy_diagonality
    # Good teacher-forced attention means that just a few free-running decodes failed.
    is_gone = latest < view.failing_diagonality and not is_forced_well
    is_lost = is_gone or max(latest, before) < LOST_SHARE * best or "attention_lost" in view.active
    if not is_lost or latest >= RECOVERED_SHARE * best:
        return None
    evidence = {"free_diagonality": latest, "best": best, "last_good_step": float(last_good_step)}
    return Diagnosis("attention_lost", "critical", view.step, last_good_step + 1, evidence)
