"""What both kinds of learning by heart show: a held-out loss rises while that of training goes on falling."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import Points, RunView

ALL_OF, MOST_OF = 3, 5  # evaluations
TRAINING_FALL = math.log(0.95)


def rises_alone(view: RunView, *, ailment: str, loss: str, enter_rise: float, leave_rise: float) -> Diagnosis | None:
    """The held-out loss is above its best by more than a factor, and training's is not."""
    losses = view.log_points(f"val_{loss}")
    if len(losses) <= ALL_OF:
        return None
    best_step, best = min(_smooth(losses), key=lambda point: point[1])
    later = [value for step, value in losses if step > best_step]
    rise = leave_rise if ailment in view.active else enter_rise
    training = view.log_points(loss)
    if not training or not _has_risen(later, best + math.log(rise)):
        return None
    window = view.facts.window_steps
    known_since = max(best_step, training[0][0] + window - 1)  # no older ones are kept
    if known_since >= view.step:
        return None
    now, then = _level(training, view.step, window), _level(training, known_since, window)
    share_known = min(1.0, (view.step - known_since) / (view.step - best_step))
    if now is None or then is None or now > then + TRAINING_FALL * share_known:
        return None
    told = {f"val_{loss}": later[-1], "best": best, loss: now, f"{loss}_then": then}
    return Diagnosis(ailment, "warning", view.step, best_step, view.facts.as_told(loss, **told))


def _has_risen(later: Sequence[float], limit: float) -> bool:
    """All of the last three, or most of the last five where evaluations are noisy."""
    by_all = len(later) >= ALL_OF and min(later[-ALL_OF:]) >= limit
    return by_all or (len(later) >= MOST_OF and statistics.median(later[-MOST_OF:]) >= limit)


def _smooth(losses: Points) -> Points:
    """Medians of three: the best of many noisy evaluations is a lucky one."""
    triples = zip(losses, losses[1:], losses[2:], strict=False)
    return [(step, statistics.median((sooner, value, later))) for (_, sooner), (step, value), (_, later) in triples]


def _level(losses: Points, step: int, window: int) -> float | None:
    values = [value for at, value in losses if step - window < at <= step]
    return statistics.median(values) if values else None
