from __future__ import annotations

from typing import Any

import pytest

from smart_tuner.detectors.optimization.learning_rate import (
    detect_learning_rate_too_high,
    detect_learning_rate_too_low,
    peak_update_ratios,
    typical_ratio_start,
    typical_update_ratio,
    update_ratio_before,
)
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import Values, every, falling, make_facts, make_view, noisy, on_series

STANDING, FALLING = noisy(5.0, 100, 0.03), falling(8.0, 2.0, 100, 0.03)


WARMUP = make_facts(warmup_steps=100)


def test_update_ratios_are_corrected_for_the_warm_up() -> None:
    view = make_view({"update_ratio": every(10, [0.0005, 0.001, 0.0015])}, WARMUP)
    assert peak_update_ratios(view) == [
        (10, pytest.approx(0.005)),
        (20, pytest.approx(0.005)),
        (30, pytest.approx(0.005)),
    ]
    view = make_view({"update_ratio": every(10, [0.005] * 30)}, WARMUP)
    assert peak_update_ratios(view) == [(step, 0.005) for step in range(210, 301, 10)]


def test_the_warm_up_starts_again_with_an_attempt() -> None:
    view = make_view({"update_ratio": {510: 0.0005, 520: 0.001, 530: 0.0015}}, WARMUP, attempt_start=500)
    assert typical_update_ratio(view) == pytest.approx(0.005)


def test_the_typical_ratio_is_the_median_of_three() -> None:
    assert typical_update_ratio(make_view({"update_ratio": every(10, [9.0, 0.004, 9.0, 0.005])})) == 0.005
    assert typical_update_ratio(make_view({"update_ratio": every(10, [0.004, 0.004, 9.0, 0.006, 0.005])})) == 0.006


def test_there_is_no_typical_ratio_of_too_few_or_too_old_measurements() -> None:
    assert typical_update_ratio(make_view({})) is None
    assert typical_update_ratio(make_view({"update_ratio": every(10, [0.1, 0.1])})) is None
    assert typical_update_ratio(make_view({"update_ratio": every(10, [0.1, 0.1, 0.1])}, step=500)) is None


def test_the_ratio_before_excludes_the_typical_measurements() -> None:
    view = make_view({"update_ratio": every(10, [0.003, 0.005, 0.004, 0.1, 0.2, 0.3])})
    assert (typical_update_ratio(view), typical_ratio_start(view)) == (0.2, 40)
    assert update_ratio_before(view, "learning_rate_too_high") == 0.004
    too_short = make_view({"update_ratio": every(10, [0.1, 0.1, 0.1])})
    assert update_ratio_before(too_short, "learning_rate_too_high") is None
    warming_up = make_view({"update_ratio": every(10, [0.001, 0.002, 0.003, 0.004])}, WARMUP)
    assert update_ratio_before(warming_up, "learning_rate_too_high") == pytest.approx(0.01)


diagnose_too_high = on_series(detect_learning_rate_too_high)


def too_high(ratio: float, losses: list[float], *, active: bool = False) -> Diagnosis | None:
    series: dict[str, Values] = {"update_ratio": every(10, [ratio] * (len(losses) // 10)), "total_loss": losses}
    return diagnose_too_high(series, active={"learning_rate_too_high": 1} if active else {})


def test_a_rate_thirty_times_too_high_is_diagnosed_in_thirty_steps() -> None:
    assert too_high(0.15, noisy(7.0, 29)) is None
    diagnosis = too_high(0.15, noisy(7.0, 30))
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("critical", 30, 10)
    assert diagnosis.evidence["update_ratio"] == 0.15 and diagnosis.evidence["limit"] == 0.02


@pytest.mark.parametrize(
    ("ratio", "standing", "while_falling"),
    [(0.019, False, False), (0.02, True, False), (0.049, True, False), (0.05, True, True)],
)
def test_large_updates_are_allowed_while_the_loss_falls_and_huge_ones_never(
    ratio: float, standing: bool, while_falling: bool
) -> None:
    assert (too_high(ratio, STANDING) is not None) is standing
    assert (too_high(ratio, FALLING) is not None) is while_falling


def test_updates_must_halve_below_the_entry_limit_to_recover() -> None:
    assert too_high(0.011, STANDING, active=True) is not None
    assert too_high(0.009, STANDING, active=True) is None
    assert too_high(0.026, FALLING, active=True) is not None
    assert too_high(0.024, FALLING, active=True) is None


def test_a_fall_smaller_than_the_noise_is_no_fall() -> None:
    diagnosis = too_high(0.03, STANDING)
    assert diagnosis is not None and abs(diagnosis.evidence["loss_trend"]) < 0.05


@pytest.mark.parametrize(("before", "was_healthy"), [(0.004, True), (0.009, True), (0.011, False)])
def test_the_evidence_tells_whether_updates_were_healthy_before(before: float, was_healthy: bool) -> None:
    ratios = every(10, [*[before] * 4, *[0.1] * 3])
    diagnosis = diagnose_too_high({"update_ratio": ratios, "total_loss": noisy(5.0, 70, 0.03)})
    assert diagnosis is not None and diagnosis.since == 50
    assert diagnosis.evidence.get("before") == (before if was_healthy else None)


def test_the_former_ratio_is_still_known_long_after_the_diagnosis() -> None:
    ratios, losses = [*[0.004] * 50, *[0.03] * 20], noisy(5.0, 700, 0.03)
    view = make_view({"update_ratio": every(10, ratios), "total_loss": losses}, active={"learning_rate_too_high": 530})
    diagnosis = detect_learning_rate_too_high(view)
    assert diagnosis is not None and diagnosis.evidence["before"] == 0.004


def test_too_high_is_not_diagnosed_from_missing_measurements() -> None:
    assert diagnose_too_high({}) is None
    assert diagnose_too_high({"update_ratio": every(10, [0.5] * 10)}) is None
    assert diagnose_too_high({"update_ratio": every(10, [None, 0.5, None, 0.5]), "total_loss": [5.0] * 40}) is None
    assert diagnose_too_high({"update_ratio": every(10, [0.5] * 4), "total_loss": [None] * 40}) is None


FALLING_TO_3 = falling(8.0, 3.0, 100, 0.03)
PEAK = make_facts().peak_learning_rate
diagnose_too_low = on_series(detect_learning_rate_too_low)


def too_low(ratio: float, losses: list[float], *, rate: float = PEAK, **changes: Any) -> Diagnosis | None:
    n = len(losses)
    series: dict[str, Values] = {
        "update_ratio": every(10, [ratio] * (n // 10)),
        "total_loss": losses,
        "learning_rate": [rate] * n,
    }
    return diagnose_too_low(series, **changes)


ACTIVE_TOO_LOW: dict[str, Any] = {"active": {"learning_rate_too_low": 1}}


def test_updates_that_hardly_move_the_weights_are_too_small() -> None:
    diagnosis = too_low(5e-5, STANDING)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 100, 80)
    assert diagnosis.evidence["update_ratio"] == 5e-5


@pytest.mark.parametrize(
    ("ratio", "standing", "while_falling"),
    [(1e-4, True, True), (1.1e-4, True, False), (6e-4, True, False), (6.1e-4, False, False)],
)
def test_small_updates_are_allowed_while_the_loss_falls_and_tiny_ones_never(
    ratio: float, standing: bool, while_falling: bool
) -> None:
    assert (too_low(ratio, STANDING) is not None) is standing
    assert (too_low(ratio, FALLING_TO_3) is not None) is while_falling


def test_updates_must_double_above_the_entry_limit_to_recover() -> None:
    assert too_low(1.2e-3, STANDING, **ACTIVE_TOO_LOW) is not None
    assert too_low(1.21e-3, STANDING, **ACTIVE_TOO_LOW) is None
    assert too_low(2e-4, FALLING_TO_3, **ACTIVE_TOO_LOW) is not None


def test_too_low_is_not_diagnosed_before_the_warm_up_and_half_a_window() -> None:
    facts = make_facts(warmup_steps=60)
    assert too_low(5e-5, noisy(5.0, 109), facts=facts) is None
    assert too_low(5e-5, noisy(5.0, 110), facts=facts) is not None


def test_small_updates_are_allowed_at_the_loss_target() -> None:
    assert too_low(5e-5, noisy(0.5, 100)) is None
    assert too_low(5e-5, noisy(1.5, 100)) is not None
    assert too_low(5e-5, [-1.0, 0.5] * 50) is None


def test_a_rate_lowered_by_schedule_or_intervention_is_allowed() -> None:
    assert too_low(5e-5, STANDING, rate=0.49 * PEAK) is None
    assert too_low(5e-5, STANDING, rate=0.5 * PEAK) is not None
    assert too_low(5e-5, STANDING, phase="quality") is None


def test_too_low_is_not_diagnosed_from_missing_measurements() -> None:
    assert diagnose_too_low({}) is None
    assert too_low(5e-5, STANDING[:29]) is None
    series: dict[str, Values] = {"update_ratio": every(10, [5e-5] * 10), "learning_rate": [1e-3] * 100}
    assert diagnose_too_low(series) is None
    assert diagnose_too_low({"update_ratio": every(10, [5e-5] * 10), "total_loss": STANDING}) is None


def test_collapsed_updates_are_diagnosed_in_every_phase() -> None:
    def diagnose(*ratios: float) -> Diagnosis | None:
        return diagnose_too_low({"update_ratio": every(10, ratios)}, phase="quality")

    assert diagnose(*[3e-3] * 4, 9e-5, 0.0) is not None
    assert diagnose(*[3e-3] * 4, 9e-5) is None  # one measurement may be chance
    assert diagnose(*[3e-3] * 4, 1e-3, 9e-5) is None
    assert diagnose(*[3e-3] * 4, 1.1e-4, 1.1e-4) is None
    assert diagnose(*[3e-3] * 3, 9e-5, 9e-5) is None  # too few measurements before
    collapse = diagnose(*[3e-3] * 4, 9e-5, 8e-5)
    assert collapse is not None and collapse.since == 50
    assert collapse.evidence == {"update_ratio": 9e-5, "before": 3e-3}
