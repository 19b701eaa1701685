"""Symbols are given no time at all, or all of it: what is said cannot be followed."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

SIGNALS = ("zero_duration_share", "huge_duration_share", "length_ratio")
TIMES = 3  # evaluations in a row
ENTER_ZERO, LEAVE_ZERO = 0.6, 0.5  # share of symbols; a space between two words has no time of its own
ENTER_HUGE, LEAVE_HUGE = 0.05, 0.02
SHORT, LONG = 0.5, 2.0  # of the recordings' length
LEARNING = -0.1  # change of the held-out duration loss meanwhile, in its logarithm: at first all are short


def detect(view: RunView) -> Diagnosis | None:
    zero, huge, ratio = (dict(view.points(name)) for name in SIGNALS)
    steps = sorted(zero.keys() & huge.keys() & ratio.keys())
    if len(steps) < TIMES or view.steps_done < view.facts.warmup_steps:
        return None
    is_active = "collapsed_durations" in view.active
    most_zero, most_huge = (LEAVE_ZERO, LEAVE_HUGE) if is_active else (ENTER_ZERO, ENTER_HUGE)
    told = steps[-1 if is_active else -TIMES :]
    sick = [zero[s] >= most_zero or huge[s] >= most_huge or not SHORT <= ratio[s] <= LONG for s in told]
    if not all(sick) or _still_learning(view):
        return None
    evidence = {name: values[told[-1]] for name, values in zip(SIGNALS, (zero, huge, ratio), strict=True)}
    since = view.active.get("collapsed_durations", told[0])
    return Diagnosis("collapsed_durations", "warning", view.step, since, evidence)


def _still_learning(view: RunView) -> bool:
    losses = [value for _, value in view.log_points("val_duration_loss")][-TIMES:]
    return len(losses) == TIMES and losses[-1] - losses[0] < LEARNING
