from __future__ import annotations

from typing import Any

import pytest

from smart_tuner.detectors.optimization.learning_rate_too_low import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import Values, every, falling, false_alarms, make_facts, make_view, noisy

STANDING, FALLING = noisy(5.0, 100, 0.03), falling(8.0, 3.0, 100, 0.03)
PEAK = make_facts().peak_learning_rate


def trained(ratio: float, losses: list[float], *, rate: float = PEAK, **changes: Any) -> Diagnosis | None:
    n = len(losses)
    series: dict[str, Values] = {
        "update_ratio": every(10, [ratio] * (n // 10)),
        "total_loss": losses,
        "learning_rate": [rate] * n,
    }
    return detect(make_view(series, **changes))


ACTIVE: dict[str, Any] = {"active": {"learning_rate_too_low": 1}}


def test_updates_that_hardly_move_the_weights_are_found() -> None:
    found = trained(5e-5, STANDING)
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 100, 80)
    assert found.evidence["update_ratio"] == 5e-5


@pytest.mark.parametrize(
    ("ratio", "standing", "while_falling"),
    [(1e-4, True, True), (1.1e-4, True, False), (6e-4, True, False), (6.1e-4, False, False)],
)
def test_small_updates_are_forgiven_while_the_loss_falls_and_tiny_ones_never(
    ratio: float, standing: bool, while_falling: bool
) -> None:
    assert (trained(ratio, STANDING) is not None) is standing
    assert (trained(ratio, FALLING) is not None) is while_falling


def test_it_leaves_at_twice_where_it_enters() -> None:
    assert trained(1.2e-3, STANDING, **ACTIVE) is not None
    assert trained(1.21e-3, STANDING, **ACTIVE) is None
    assert trained(2e-4, FALLING, **ACTIVE) is not None


def test_it_waits_for_the_warm_up_and_half_a_window() -> None:
    facts = make_facts(warmup_steps=60)
    assert trained(5e-5, noisy(5.0, 109), facts=facts) is None
    assert trained(5e-5, noisy(5.0, 110), facts=facts) is not None


def test_fine_tuning_what_is_good_already_may_take_small_steps() -> None:
    assert trained(5e-5, noisy(0.5, 100)) is None
    assert trained(5e-5, noisy(1.5, 100)) is not None
    assert trained(5e-5, [-1.0, 0.5] * 50) is None


def test_a_rate_that_is_low_by_schedule_or_treatment_is_meant_so() -> None:
    assert trained(5e-5, STANDING, rate=0.49 * PEAK) is None
    assert trained(5e-5, STANDING, rate=0.5 * PEAK) is not None
    assert trained(5e-5, STANDING, phase="quality") is None


def test_gaps_say_nothing() -> None:
    assert detect(make_view({})) is None
    assert trained(5e-5, STANDING[:29]) is None
    series: dict[str, Values] = {"update_ratio": every(10, [5e-5] * 10), "learning_rate": [1e-3] * 100}
    assert detect(make_view(series)) is None
    assert detect(make_view({"update_ratio": every(10, [5e-5] * 10), "total_loss": STANDING})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("learning_rate_too_low") == []


def test_updates_that_collapse_are_found_in_every_phase() -> None:
    def found(*ratios: float) -> Diagnosis | None:
        return detect(make_view({"update_ratio": every(10, ratios)}, phase="quality"))

    assert found(*[3e-3] * 4, 9e-5, 0.0) is not None
    assert found(*[3e-3] * 4, 9e-5) is None  # once may be a chance
    assert found(*[3e-3] * 4, 1e-3, 9e-5) is None
    assert found(*[3e-3] * 4, 1.1e-4, 1.1e-4) is None
    assert found(*[3e-3] * 3, 9e-5, 9e-5) is None  # too short a habit
    collapse = found(*[3e-3] * 4, 9e-5, 8e-5)
    assert collapse is not None and collapse.since == 50
    assert collapse.evidence == {"update_ratio": 9e-5, "before": 3e-3}
