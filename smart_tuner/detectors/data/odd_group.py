"""Detector of a group of recordings that stands apart from the others: wrong texts or rates, another speaker, noise."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

ENTER_SEPARATION, LEAVE_SEPARATION = 3.5, 3.0
"""Deviations within the groups; halves of one distribution are 2.7 apart if it is normal, 3.4 if exponential."""
MAX_OVERLAP = 0.35
MIN_SHARE = 0.04
"""Fewer do little harm, and are often just difficult sentences."""
EVALUATIONS, EPOCHS = 2, 3
TOO_EASY = -1.0
"""Excess below which a group is predicted better than speech can be: noise, silence, a tone."""


def detect_odd_group(view: RunView) -> Diagnosis | None:
    """A group of its own in two evaluations running."""
    is_active = "odd_group" in view.active
    separations, overlaps, shares, excesses = (
        view.values(f"odd_group_{name}")[-EVALUATIONS:] for name in ("separation", "overlap", "share", "excess")
    )
    if len(separations) < EVALUATIONS or not view.odd_utterances:
        return None
    if view.attempt_steps < EPOCHS * view.facts.steps_per_epoch:
        return None  # residuals of the attempt before a restart still count
    if min(separations) < (LEAVE_SEPARATION if is_active else ENTER_SEPARATION):
        return None
    if max(overlaps) > MAX_OVERLAP or min(shares) < MIN_SHARE:
        return None
    if min(excesses) <= 0 and max(excesses) > TOO_EASY:
        return None
    evidence = {
        "utterances": float(len(view.odd_utterances)),
        "share": shares[-1],
        "separation": separations[-1],
        "excess": excesses[-1],
    }
    since = view.active.get("odd_group", view.points("odd_group_separation")[-EVALUATIONS][0])
    return Diagnosis("odd_group", "warning", view.step, since, evidence, view.odd_utterances)
