"""An utterance whose loss stands far out of its batch each time it comes by."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import View

TIMES = 2
NOT_FINITE_TIMES = 1


def detect(view: View) -> Diagnosis | None:
    found = view.outliers.appearances
    broken = [name for name, seen in found.items() if sum(a.ratio is None for a in seen) >= NOT_FINITE_TIMES]
    extreme = [name for name, seen in found.items() if name not in broken and len(seen) >= TIMES]
    named = sorted([*broken, *extreme])
    if not named:
        return None
    seen = [appearance for name in named for appearance in found[name]]
    ratios = [appearance.ratio for appearance in seen if appearance.ratio is not None]
    evidence = {"utterances": float(len(named)), "not_finite": float(len(broken)), "appearances": float(len(seen))}
    if ratios:
        evidence["loss_ratio"] = max(ratios)
    since = min(appearance.step for appearance in seen)
    return Diagnosis("bad_utterance", "warning", view.step, since, evidence, tuple(named))
