"""Detector of bad utterances: their loss is far above the rest of the batch each time they are used."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import Appearance
from smart_tuner.inputs.run_view import RunView

EXTREME_RATIO = 100.0  # times the batch's median: once is enough
TIMES, WITHIN_EPOCHS = 3, 3  # a bad recording is an outlier each time; a difficult sentence now and then


def detect_bad_utterance(view: RunView) -> Diagnosis | None:
    outliers = view.outliers.appearances
    not_finite = [name for name, appearances in outliers.items() if any(a.ratio is None for a in appearances)]
    within = WITHIN_EPOCHS * view.facts.steps_per_epoch
    extreme = [name for name, a in outliers.items() if name not in not_finite and _is_bad(a, within)]
    bad = sorted([*not_finite, *extreme])
    if not bad:
        return None
    appearances = [appearance for name in bad for appearance in outliers[name]]
    ratios = [appearance.ratio for appearance in appearances if appearance.ratio is not None]
    evidence = {
        "utterances": float(len(bad)),
        "not_finite": float(len(not_finite)),
        "appearances": float(len(appearances)),
    }
    if ratios:
        evidence["loss_ratio"] = max(ratios)
    since = min(view.step, *(appearance.step for appearance in appearances))  # a rollback leaves later appearances
    return Diagnosis("bad_utterance", "warning", view.step, since, evidence, tuple(bad))


def _is_bad(appearances: list[Appearance], within_steps: int) -> bool:
    """Whether it was extreme once, or an outlier at several steps near each other."""
    if any(a.ratio is not None and a.ratio >= EXTREME_RATIO for a in appearances):
        return True
    steps = sorted({a.step for a in appearances})  # the same step twice: the batch was repeated after a rollback
    return any(last - first <= within_steps for first, last in zip(steps, steps[TIMES - 1 :], strict=False))
