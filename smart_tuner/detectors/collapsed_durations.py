"""Symbols are given no time at all, or all of it: what is said cannot be followed."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import View

TIMES = 3  # evaluations in a row
ENTER_ZERO, LEAVE_ZERO = 0.6, 0.5  # share of symbols; a space between two words has no time of its own
ENTER_HUGE, LEAVE_HUGE = 0.05, 0.02
SHORT, LONG = 0.5, 2.0  # of the recordings' length
LEARNING = -0.1  # change of the held-out duration loss meanwhile, in its logarithm: at first all are short


def detect(view: View) -> Diagnosis | None:
    zero, huge, ratio = (view.points(name) for name in ("zero_duration_share", "huge_duration_share", "length_ratio"))
    if min(len(zero), len(huge), len(ratio)) < TIMES or view.steps_done < view.facts.warmup_steps:
        return None
    is_active = "collapsed_durations" in view.active
    most_zero, most_huge = (LEAVE_ZERO, LEAVE_HUGE) if is_active else (ENTER_ZERO, ENTER_HUGE)
    evaluations = list(zip(zero, huge, ratio, strict=False))[-1 if is_active else -TIMES :]
    sick = [z >= most_zero or h >= most_huge or not SHORT <= r <= LONG for (_, z), (_, h), (_, r) in evaluations]
    if not all(sick) or _still_learning(view):
        return None
    evidence = {"zero_duration_share": zero[-1][1], "huge_duration_share": huge[-1][1], "length_ratio": ratio[-1][1]}
    since = view.active.get("collapsed_durations", evaluations[0][0][0])
    return Diagnosis("collapsed_durations", "warning", view.step, since, evidence)


def _still_learning(view: View) -> bool:
    losses = [value for _, value in view.log_points("val_duration_loss")][-TIMES:]
    return len(losses) == TIMES and losses[-1] - losses[0] < LEARNING
