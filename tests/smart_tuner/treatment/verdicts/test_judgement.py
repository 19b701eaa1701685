"""Judgement of interventions by mechanism and by outcome; helped is claimed only beyond what the run does by itself."""

from __future__ import annotations

import math

import pytest

from smart_tuner.treatment.interventions import Direction, Expectation
from smart_tuner.treatment.verdicts.judgement import (
    Outcome,
    Verdict,
    judge_mechanism,
    measure_outcome,
    verdict_of_mechanism,
    verdict_of_outcomes,
)
from smart_tuner.treatment.verdicts.placebo import Comparison
from tests.smart_tuner.histories import FLOW, by_step, every, falling, make_facts

FACTS = make_facts()


def make_expectation(
    signal: str = "free_diagonality", direction: Direction = "up", **changes: float | None
) -> Expectation:
    fields: dict[str, float | None] = {"forecast": 0.5, "noise": 0.05, "target": None} | changes
    return Expectation(signal, direction, 500, fields["forecast"], fields["noise"] or 0.0, fields["target"])


@pytest.mark.parametrize(
    ("value", "mechanism", "is_within_noise"),
    [
        (0.56, "works", False),
        (0.54, "no_effect", True),
        (0.46, "no_effect", True),
        (0.42, "no_effect", False),
        (0.39, "opposite", False),
    ],
)
def test_a_signal_is_compared_with_its_forecast(value: float, mechanism: str, is_within_noise: bool) -> None:
    result = judge_mechanism(make_expectation(), value, FACTS)
    assert (result.mechanism, result.is_within_noise, result.value) == (mechanism, is_within_noise, value)
    assert result.gain == pytest.approx(value - 0.5)


def test_lower_losses_are_better_and_compared_by_ratios() -> None:
    expected = make_expectation("total_loss", "down", forecast=2.0)
    assert judge_mechanism(expected, 1.8, FACTS).mechanism == "works"
    assert judge_mechanism(expected, 1.8, FACTS).gain == pytest.approx(math.log(2.0 / 1.8))
    assert judge_mechanism(expected, 2.3, FACTS).mechanism == "opposite"


def test_log_likelihoods_are_compared_by_differences() -> None:
    flow, small = make_facts(**FLOW), make_expectation("val_total_loss", "down", forecast=0.02)
    assert judge_mechanism(small, -0.5, flow).gain == pytest.approx(0.52)
    assert judge_mechanism(small, 0.01, flow).mechanism == "no_effect"
    assert judge_mechanism(small, 0.01, FACTS).mechanism == "works"


def test_a_mechanism_that_reaches_its_target_works_whatever_the_forecast() -> None:
    assert judge_mechanism(make_expectation(forecast=0.9, target=0.7), 0.7, FACTS).mechanism == "works"
    assert judge_mechanism(make_expectation(forecast=0.9, target=0.7), 0.69, FACTS).mechanism == "opposite"
    loss = make_expectation("total_loss", "down", forecast=1.0, target=3.0)
    assert judge_mechanism(loss, 2.9, FACTS).mechanism == "works"


def test_without_a_forecast_the_target_decides_or_the_existence_of_a_value() -> None:
    assert judge_mechanism(make_expectation(forecast=None, target=0.7), 0.7, FACTS).mechanism == "works"
    assert judge_mechanism(make_expectation(forecast=None, target=0.7), 0.6, FACTS).mechanism == "no_effect"
    assert judge_mechanism(make_expectation(forecast=None), 0.6, FACTS).mechanism == "works"


def test_a_signal_without_a_value_shows_no_effect() -> None:
    result = judge_mechanism(make_expectation(), None, FACTS)
    assert (result.mechanism, result.value, result.is_within_noise) == ("no_effect", None, False)


def evaluations(values: list[float]) -> list[tuple[int, float]]:
    return [(step, value) for step, value in by_step(every(100, values)).items() if value is not None]


def verdict_at_the_end(values: list[float], factor: float) -> Verdict:
    """Verdict if the last two of these losses, after an intervention, are so many times as large."""
    points = evaluations([*values[:-2], *(factor * value for value in values[-2:])])
    start, last = points[-3], points[-1][0]
    expected = Expectation("val_mel_loss", "down", last, start[1], 0.05)
    result = judge_mechanism(expected, points[-1][1], FACTS)
    return verdict_of_mechanism(expected, result, points, start=start[0], treated=(), facts=FACTS)


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "unknown"), (1.0, "no_effect"), (1.3, "harmful")])
def test_a_mechanism_alone_never_helped_and_harms_only_beyond_the_placebo(factor: float, verdict: Verdict) -> None:
    assert verdict_at_the_end(falling(2.0, 1.9, 30, 0.01), factor) == verdict


def test_a_loss_as_noisy_as_that_by_itself_was_not_harmed() -> None:
    noisy = [2.0 * (1.3 if i % 3 == 1 else 1.0) for i in range(30)]
    assert verdict_at_the_end(noisy, 1.15) == "no_effect"


def outcome(placebo: Comparison) -> Outcome:
    return Outcome("val_mel_loss", 1.0, 0.1, placebo, 20)


@pytest.mark.parametrize(
    ("placebos", "verdict"),
    [
        ((), "unknown"),
        (("usual", "usual"), "unknown"),
        (("better", "usual"), "helped"),
        (("better", "better"), "helped"),
        (("worse", "usual"), "harmful"),
        (("better", "worse"), "unknown"),
    ],
)
def test_the_verdict_of_outcomes_needs_them_to_agree(placebos: tuple[Comparison, ...], verdict: Verdict) -> None:
    assert verdict_of_outcomes([outcome(placebo) for placebo in placebos]) == verdict


def test_a_signal_that_was_not_measured_since_has_no_outcome() -> None:
    points = evaluations([2.0] * 10)
    expected = Expectation("val_mel_loss", "down", 1200, 2.0, 0.05)
    assert measure_outcome(expected, points, start=points[-1][0], treated=(), facts=FACTS) is None
    assert measure_outcome(expected, [], start=0, treated=(), facts=FACTS) is None
