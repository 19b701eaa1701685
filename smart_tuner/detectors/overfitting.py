"""Held-out loss rises while the training loss goes on falling: the voice learns its recordings by heart."""

from __future__ import annotations

import statistics

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import View

EVALUATIONS_SINCE_BEST = 3
ENTER_RISE, LEAVE_RISE = 1.10, 1.03
TRAINING_FALL = 0.95


def detect(view: View) -> Diagnosis | None:
    losses = view.points("val_mel_loss")
    if len(losses) <= EVALUATIONS_SINCE_BEST:
        return None
    best_step, best = min(losses, key=lambda point: point[1])
    later = [value for step, value in losses if step > best_step]
    rise = ENTER_RISE if "overfitting" not in view.active else LEAVE_RISE
    if len(later) < EVALUATIONS_SINCE_BEST or min(later[-EVALUATIONS_SINCE_BEST:]) < rise * best:
        return None
    now, then = _training_loss(view, view.step), _training_loss(view, best_step)
    if now is None or then is None or now > TRAINING_FALL * then:
        return None
    evidence = {"val_mel_loss": later[-1], "best": best, "mel_loss": now, "mel_loss_then": then}
    return Diagnosis("overfitting", "warning", view.step, best_step, evidence)


def _training_loss(view: View, step: int) -> float | None:
    first = step - view.facts.window_steps
    values = [value for at, value in view.points("mel_loss") if first < at <= step]
    return statistics.median(values) if values else None
