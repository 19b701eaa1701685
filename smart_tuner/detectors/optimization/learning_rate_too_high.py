"""Updates so large beside the weights that they throw away what was learnt, and a loss that does not fall."""

from __future__ import annotations

from smart_tuner.detectors.optimization.learning_rate import first_of_typical, ratio_before, typical_ratio
from smart_tuner.detectors.series import slope
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView

AILMENT = "learning_rate_too_high"
LARGE, HUGE = 0.02, 0.05  # healthy recipes lie between 0.0005 and 0.01


def detect(view: RunView) -> Diagnosis | None:
    ratio, trend = typical_ratio(view), slope(view.log_points("total_loss", view.facts.window_steps))
    if ratio is None or trend is None:
        return None
    large, huge = (LARGE / 2, HUGE / 2) if AILMENT in view.active else (LARGE, HUGE)
    is_falling = trend * view.facts.window_steps < -0.05
    if ratio < large or (ratio < huge and is_falling):
        return None
    evidence = {"update_ratio": ratio, "limit": large, "loss_trend": trend * view.facts.window_steps}
    before = ratio_before(view, AILMENT)
    if before is not None and before < LARGE / 2:  # it was healthy
        evidence["before"] = before
    return Diagnosis(AILMENT, "critical", view.step, first_of_typical(view), evidence)
