"""Detectors of durations that are near zero or huge (collapsed_durations) or overfitted (overfit_durations)."""

from __future__ import annotations

from smart_tuner.detectors.optimization.overfitting import detect_held_out_rise
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

SIGNALS = ("zero_duration_share", "huge_duration_share", "length_ratio")
EVALUATIONS = 3  # in a row
ENTER_ZERO, LEAVE_ZERO = 0.6, 0.5  # share of symbols; spaces between words have no time of their own
ENTER_HUGE, LEAVE_HUGE = 0.05, 0.02
SHORT, LONG = 0.5, 2.0  # of the recordings' length
LEARNING = -0.1  # change of the held-out duration loss's logarithm; at first all durations are short


def detect_collapsed_durations(view: RunView) -> Diagnosis | None:
    """Unintelligible durations in several evaluations in a row, while the duration loss does not improve."""
    zero, huge, ratio = (dict(view.points(name)) for name in SIGNALS)
    steps = sorted(zero.keys() & huge.keys() & ratio.keys())
    if len(steps) < EVALUATIONS or view.attempt_steps < view.facts.warmup_steps:
        return None
    is_active = "collapsed_durations" in view.active
    most_zero, most_huge = (LEAVE_ZERO, LEAVE_HUGE) if is_active else (ENTER_ZERO, ENTER_HUGE)
    recent = steps[-1 if is_active else -EVALUATIONS :]
    collapsed = [zero[s] >= most_zero or huge[s] >= most_huge or not SHORT <= ratio[s] <= LONG for s in recent]
    if not all(collapsed) or _is_still_learning(view):
        return None
    evidence = {name: values[recent[-1]] for name, values in zip(SIGNALS, (zero, huge, ratio), strict=True)}
    since = view.active.get("collapsed_durations", recent[0])
    return Diagnosis("collapsed_durations", "warning", view.step, since, evidence)


def _is_still_learning(view: RunView) -> bool:
    losses = [value for _, value in view.log_points("val_duration_loss")][-EVALUATIONS:]
    return len(losses) == EVALUATIONS and losses[-1] - losses[0] < LEARNING


def detect_overfit_durations(view: RunView) -> Diagnosis | None:
    """Held-out durations get worse while those of the training set get better."""
    return detect_held_out_rise(
        view, ailment="overfit_durations", loss="duration_loss", enter_rise=1.25, leave_rise=1.10
    )
