"""Updates so small beside the weights that training would take for ever, and a loss still bad that hardly falls."""

from __future__ import annotations

import statistics

from smart_tuner.detectors.learning_rate import peak_update_ratios, typical_ratio
from smart_tuner.detectors.series import log_slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.view import View

SMALL, TINY = 6e-4, 1e-4
HARDLY = -0.05  # change of the loss in a window, in its logarithm
NEAR_PEAK = 0.5


def detect(view: View) -> Diagnosis | None:
    ratio, rates = typical_ratio(view), view.values("learning_rate", 1)
    losses = view.points("total_loss", view.facts.window_steps)
    trend = log_slope(losses)
    if ratio is None or trend is None or not rates or view.phase != "pre_alignment":
        return None
    if rates[-1] < NEAR_PEAK * view.facts.peak_learning_rate:
        return None  # small by schedule, or by a treatment
    if statistics.median(value for _, value in losses) <= view.quality.loss_target:
        return None  # fine-tuning what is good already
    if view.steps_done < view.facts.warmup_steps + view.facts.window_steps // 2:
        return None
    tiny, small = (2 * TINY, 2 * SMALL) if "learning_rate_too_low" in view.active else (TINY, SMALL)
    if ratio > small or (ratio > tiny and trend * view.facts.window_steps < HARDLY):
        return None
    evidence = {"update_ratio": ratio, "limit": tiny, "loss_trend": trend * view.facts.window_steps}
    return Diagnosis("learning_rate_too_low", "warning", view.step, peak_update_ratios(view)[0][0], evidence)
