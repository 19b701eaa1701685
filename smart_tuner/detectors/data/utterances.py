"""An utterance whose loss stands far out of its batch each time it comes by."""

from __future__ import annotations

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import Appearance
from smart_tuner.inputs.run_view import RunView

HUNDREDFOLD = 100.0  # the loss of its batch: no need to see that again
TIMES, WITHIN_EPOCHS = 3, 3  # a bad clip stands out each time; a hard sentence may do so twice, or now and then


def detect(view: RunView) -> Diagnosis | None:
    found = view.outliers.appearances
    broken = [name for name, seen in found.items() if any(a.ratio is None for a in seen)]
    within = WITHIN_EPOCHS * view.facts.steps_per_epoch
    extreme = [name for name, seen in found.items() if name not in broken and _is_convicted(seen, within)]
    named = sorted([*broken, *extreme])
    if not named:
        return None
    seen = [appearance for name in named for appearance in found[name]]
    ratios = [appearance.ratio for appearance in seen if appearance.ratio is not None]
    evidence = {"utterances": float(len(named)), "not_finite": float(len(broken)), "appearances": float(len(seen))}
    if ratios:
        evidence["loss_ratio"] = max(ratios)
    since = min(view.step, *(appearance.step for appearance in seen))  # a rollback leaves appearances ahead of it
    return Diagnosis("bad_utterance", "warning", view.step, since, evidence, tuple(named))


def _is_convicted(seen: list[Appearance], within: int) -> bool:
    """At three steps near each other; the same step twice is a batch seen again after a rollback."""
    if any(appearance.ratio is not None and appearance.ratio >= HUNDREDFOLD for appearance in seen):
        return True
    steps = sorted({appearance.step for appearance in seen})
    return any(last - first <= within for first, last in zip(steps, steps[TIMES - 1 :], strict=False))
