"""Held-out loss rises while the training loss goes on falling: the voice learns its recordings by heart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import Points, View

ALL_OF, MOST_OF = 3, 5  # evaluations
ENTER_RISE, LEAVE_RISE = math.log(1.10), math.log(1.03)
TRAINING_FALL = math.log(0.95)


def detect(view: View) -> Diagnosis | None:
    spectrum = view.facts.spectrum_loss
    losses = view.log_points(f"val_{spectrum}")
    if len(losses) <= ALL_OF:
        return None
    best_step, best = min(_smooth(losses), key=lambda point: point[1])
    later = [value for step, value in losses if step > best_step]
    rise = ENTER_RISE if "overfitting" not in view.active else LEAVE_RISE
    training = view.points(spectrum)
    if not training or not _has_risen(later, best + rise):
        return None
    known_since = max(best_step, training[0][0] + view.facts.window_steps - 1)  # no older ones are kept
    if known_since >= view.step:
        return None
    now, then = _training_loss(view, view.step), _training_loss(view, known_since)
    share_known = min(1.0, (view.step - known_since) / (view.step - best_step))
    if now is None or then is None or now > then + TRAINING_FALL * share_known:
        return None
    told = {f"val_{spectrum}": later[-1], "best": best, spectrum: now, f"{spectrum}_then": then}
    evidence = view.facts.as_told(spectrum, **told)
    return Diagnosis("overfitting", "warning", view.step, best_step, evidence)


def _has_risen(later: Sequence[float], limit: float) -> bool:
    """All of the last three, or most of the last five where evaluations are noisy."""
    by_all = len(later) >= ALL_OF and min(later[-ALL_OF:]) >= limit
    return by_all or (len(later) >= MOST_OF and statistics.median(later[-MOST_OF:]) >= limit)


def _smooth(losses: Points) -> Points:
    """Medians of three: the best of many noisy evaluations is a lucky one."""
    triples = zip(losses, losses[1:], losses[2:], strict=False)
    return [(step, statistics.median((sooner, value, later))) for (_, sooner), (step, value), (_, later) in triples]


def _training_loss(view: View, step: int) -> float | None:
    first = step - view.facts.window_steps
    values = [value for at, value in view.log_points(view.facts.spectrum_loss) if first < at <= step]
    return statistics.median(values) if values else None
