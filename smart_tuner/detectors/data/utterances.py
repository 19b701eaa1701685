"""Detector of bad utterances: their loss is not finite, or far beyond anything that speech and its text can cause."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

EXTREME_RATIO = 100.0
"""Times the usual loss. A difficult sentence reaches ten at the end of a training, each time it is used."""


def detect_bad_utterance(view: RunView) -> Diagnosis | None:
    outliers = view.outliers.appearances
    not_finite = [name for name, appearances in outliers.items() if any(a.ratio is None for a in appearances)]
    extreme = [
        name
        for name, appearances in outliers.items()
        if name not in not_finite and any(a.ratio is not None and a.ratio >= EXTREME_RATIO for a in appearances)
    ]
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
