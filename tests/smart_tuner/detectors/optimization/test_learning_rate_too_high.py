from __future__ import annotations

import pytest

from smart_tuner.detectors.optimization.learning_rate_too_high import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import Values, every, falling, false_alarms, make_view, noisy


def trained(ratio: float, losses: list[float], *, active: bool = False) -> Diagnosis | None:
    series: dict[str, Values] = {"update_ratio": every(10, [ratio] * (len(losses) // 10)), "total_loss": losses}
    return detect(make_view(series, active={"learning_rate_too_high": 1} if active else {}))


STANDING, FALLING = noisy(5.0, 100, 0.03), falling(8.0, 2.0, 100, 0.03)


def test_a_rate_thirty_times_too_high_is_found_in_thirty_steps() -> None:
    assert trained(0.15, noisy(7.0, 29)) is None
    found = trained(0.15, noisy(7.0, 30))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("critical", 30, 10)
    assert found.evidence["update_ratio"] == 0.15 and found.evidence["limit"] == 0.02


@pytest.mark.parametrize(
    ("ratio", "standing", "while_falling"),
    [(0.019, False, False), (0.02, True, False), (0.049, True, False), (0.05, True, True)],
)
def test_large_updates_are_forgiven_while_the_loss_falls_and_huge_ones_never(
    ratio: float, standing: bool, while_falling: bool
) -> None:
    assert (trained(ratio, STANDING) is not None) is standing
    assert (trained(ratio, FALLING) is not None) is while_falling


def test_it_leaves_at_half_of_where_it_enters() -> None:
    assert trained(0.011, STANDING, active=True) is not None
    assert trained(0.009, STANDING, active=True) is None
    assert trained(0.026, FALLING, active=True) is not None
    assert trained(0.024, FALLING, active=True) is None


def test_a_loss_that_falls_less_than_its_noise_stands_still() -> None:
    found = trained(0.03, STANDING)
    assert found is not None and abs(found.evidence["loss_trend"]) < 0.05


@pytest.mark.parametrize(("before", "was_healthy"), [(0.004, True), (0.009, True), (0.011, False)])
def test_it_says_whether_updates_were_healthy_before(before: float, was_healthy: bool) -> None:
    ratios = every(10, [*[before] * 4, *[0.1] * 3])
    found = detect(make_view({"update_ratio": ratios, "total_loss": noisy(5.0, 70, 0.03)}))
    assert found is not None and found.since == 50
    assert found.evidence.get("before") == (before if was_healthy else None)


def test_it_knows_that_long_after_it_was_seen() -> None:
    ratios, losses = [*[0.004] * 50, *[0.03] * 20], noisy(5.0, 700, 0.03)
    view = make_view({"update_ratio": every(10, ratios), "total_loss": losses}, active={"learning_rate_too_high": 530})
    found = detect(view)
    assert found is not None and found.evidence["before"] == 0.004


def test_gaps_say_nothing() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"update_ratio": every(10, [0.5] * 10)})) is None
    assert detect(make_view({"update_ratio": every(10, [None, 0.5, None, 0.5]), "total_loss": [5.0] * 40})) is None
    assert detect(make_view({"update_ratio": every(10, [0.5] * 4), "total_loss": [None] * 40})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("learning_rate_too_high") == []
