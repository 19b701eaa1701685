from __future__ import annotations

import math

import pytest

from smart_tuner.detectors.series import change_spread, measure_baseline, slope
from tests.smart_tuner.histories import noisy


def test_one_outlier_moves_neither_median_nor_spread() -> None:
    values = [math.log(value) for value in noisy(4.0, 99)]
    calm, disturbed = measure_baseline(values, least_spread=0.01), measure_baseline([*values, 1e9], least_spread=0.01)
    assert calm and disturbed
    assert disturbed.median == pytest.approx(calm.median, abs=0.02)
    assert disturbed.spread == pytest.approx(calm.spread, rel=0.1)
    assert calm.spread == pytest.approx(0.15, rel=0.25)
    assert (calm.count, disturbed.count) == (99, 100)


def test_deviations_are_spreads_above_the_median() -> None:
    baseline = measure_baseline([-2.0, -2.0, -2.0], least_spread=0.5)
    assert baseline is not None and baseline.spread == 0.5
    assert baseline.deviations(-1.0) == pytest.approx(2.0)
    assert baseline.deviations(-3.0) == pytest.approx(-2.0)
    assert measure_baseline([], least_spread=0.1) is None


def test_slope_is_the_rise_per_step_despite_an_outlier() -> None:
    points = [(step, 3.0 + 0.5 * step) for step in range(0, 100, 7)]
    assert slope(points) == pytest.approx(0.5)
    assert slope([*points[:5], (35, 1e6), *points[6:]]) == pytest.approx(0.5)
    assert slope([(step, 0.5 * step) for step in range(1000)]) == pytest.approx(0.5)


@pytest.mark.parametrize("points", [[], [(1, 1.0)], [(1, 1.0), (2, 2.0)], [(5, 1.0), (5, 2.0), (5, 3.0)]])
def test_there_is_no_slope_of_too_few_points(points: list[tuple[int, float]]) -> None:
    assert slope(points) is None


def test_change_spread_does_not_contain_the_trend() -> None:
    assert change_spread([2.0 * i for i in range(20)]) == 0.0
    logs = [math.log(value) + 0.5 * i for i, value in enumerate(noisy(1.0, 400, 0.2))]
    assert change_spread(logs) == pytest.approx(0.2 * math.sqrt(2), rel=0.15)
    assert change_spread([1.0, 5.0]) == 0.0
