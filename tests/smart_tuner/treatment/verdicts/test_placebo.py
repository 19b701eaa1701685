"""Placebo gains: what a signal gains by itself is not called an effect, a real change is."""

from __future__ import annotations

import math

import pytest

from smart_tuner.treatment.interventions import Expectation
from smart_tuner.treatment.verdicts.forecast import forecast_points, gain_over
from smart_tuner.treatment.verdicts.placebo import MIN_GAINS, Comparison, PlaceboGains, measure_placebo
from tests.smart_tuner.histories import FLOW, by_step, every, falling, make_facts

FACTS = make_facts()
HORIZON = 200


def loss(step: int = 0) -> Expectation:
    return Expectation("val_mel_loss", "down", step, None, 0.0)


def evaluations(values: list[float]) -> list[tuple[int, float]]:
    return [(step, value) for step, value in by_step(every(100, values)).items() if value is not None]


def compare_last(values: list[float], treated: tuple[tuple[int, int], ...] = ()) -> Comparison:
    """Comparison of the gain two evaluations before the end with all earlier ones."""
    points = evaluations(values)
    known, (end, value) = points[:-2], points[-1]
    forecast = forecast_points(known, "val_mel_loss", FACTS, by_step=end)
    assert forecast is not None
    gain = gain_over(loss(), value, forecast.value, FACTS)
    return measure_placebo(known, loss(), HORIZON, treated, FACTS).compare(gain)


@pytest.mark.parametrize("spread", [0.01, 0.03, 0.1])
def test_a_loss_that_falls_by_itself_is_seldom_called_better(spread: float) -> None:
    results = [
        compare_last(falling(4.0, 1.0, 60, spread, seed)[:n]) for seed in range(20) for n in range(20, 61, 5)
    ]  # fmt: skip
    assert results.count("better") <= 0.1 * len(results) and results.count("worse") <= 0.1 * len(results)


@pytest.mark.parametrize(("factor", "expected"), [(0.7, "better"), (1.4, "worse"), (0.99, "usual")])
def test_a_jump_beyond_all_earlier_changes_is_found(factor: float, expected: Comparison) -> None:
    values = falling(4.0, 1.0, 40, 0.02)
    assert compare_last([*values[:-2], *(factor * value for value in values[-2:])]) == expected


def test_treated_periods_do_not_count() -> None:
    values = falling(4.0, 1.0, 40, 0.02)
    treated = [*values[:20], *(0.5 * value for value in values[20:])]
    points = evaluations(treated)
    all_gains = measure_placebo(points, loss(), HORIZON, (), FACTS).gains
    untreated = measure_placebo(points, loss(), HORIZON, ((2000, 2100),), FACTS).gains
    assert max(all_gains) > 0.5 > max(untreated) and len(untreated) == len(all_gains) - 3


def test_too_few_moments_tell_nothing() -> None:
    assert PlaceboGains([0.0] * 20, MIN_GAINS - 1).compare(9.0) == "usual"
    assert PlaceboGains([0.0] * MIN_GAINS, MIN_GAINS).compare(9.0) == "better"
    assert measure_placebo([], loss(), HORIZON, (), FACTS) == PlaceboGains([], 0)


def test_moments_that_overlap_count_once() -> None:
    points = evaluations(falling(4.0, 1.0, 23, 0.02))  # moments from the third on, 2 evaluations long
    placebo = measure_placebo(points, loss(), HORIZON, (), FACTS)
    assert (len(placebo.gains), placebo.n_apart) == (19, 10)
    assert measure_placebo(points, loss(), 3 * HORIZON, (), FACTS).n_apart == 3


def test_one_of_twenty_moments_may_be_exceeded() -> None:
    gains = [0.01 * math.sin(i) for i in range(19)] + [0.5]
    assert PlaceboGains(gains[1:], 19).compare(0.3) == "usual"
    assert PlaceboGains(gains, 20).compare(0.3) == "better"


def test_logarithms_are_compared_as_differences() -> None:
    facts = make_facts(**FLOW)
    points = [(step, value - 3.0) for step, value in evaluations(falling(4.0, 1.0, 30, 0.0))]
    expected = Expectation("val_nll_loss", "down", 0, None, 0.0)
    assert all(-1.0 < gain < 1.0 for gain in measure_placebo(points, expected, HORIZON, (), facts).gains)
