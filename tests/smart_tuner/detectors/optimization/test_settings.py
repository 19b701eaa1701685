"""Settings that keep a model from learning."""

from __future__ import annotations

import math
from typing import Any

import pytest

from smart_tuner.detectors.optimization.settings import detect_learning_stopped, detect_settings_far_from_recipe
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import make_facts, make_view

FAR = {"weight_decay": 1e-6}


def losses(n: int, stops_at: int) -> list[float]:
    """Losses that halve every thirty steps, until they stand still."""
    return [8 * 0.5 ** (min(step, stops_at) / 30) for step in range(1, n + 1)]


def far(n: int = 130, stops_at: int = 80, rate: float = 1e-3, **facts: Any) -> Diagnosis | None:
    facts = {"preset_settings": FAR, "warmup_steps": 20} | facts
    view = make_view({"total_loss": losses(n, stops_at), "learning_rate": [rate] * n}, make_facts(**facts))
    return detect_settings_far_from_recipe(view)


def test_learning_that_slows_down_early_with_settings_far_from_the_recipe_is_named() -> None:
    diagnosis = far()
    assert diagnosis is not None and diagnosis.severity == "warning"
    assert diagnosis.evidence["weight_decay"] == 1e-6 and diagnosis.evidence["fall"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("changes", [
    {"stops_at": 1000},  # it learns as before
    {"preset_settings": {}},
    {"rate": 4e-4},  # the schedule has lowered the rate
    {"n": 200, "stops_at": 80},  # late in the plan all learning is slow
    {"n": 70, "stops_at": 40},  # too early
])  # fmt: skip
def test_other_learning_is_left_alone(changes: dict[str, Any]) -> None:
    assert far(**changes) is None


def stopped(n: int, rate: float) -> Diagnosis | None:
    return detect_learning_stopped(make_view({"learning_rate": [rate] * n}, make_facts()))


def test_a_rate_near_zero_long_before_the_plan_ends_has_stopped_learning() -> None:
    diagnosis = stopped(200, 9e-6)
    assert diagnosis is not None and diagnosis.evidence["left_share"] == pytest.approx(1 - 200 / 450)
    assert stopped(200, 1.1e-5) is None
    assert stopped(330, 9e-6) is None  # the plan is nearly over


def test_warm_up_is_no_end_of_learning() -> None:
    view = make_view({"learning_rate": [1e-6] * 100}, make_facts(warmup_steps=90))
    assert detect_learning_stopped(view) is None
    assert math.isclose(view.facts.peak_learning_rate, 1e-3)
