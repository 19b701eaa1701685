from __future__ import annotations

import math

import pytest

from smart_tuner.treatment.follow_up import (
    forecast_signal,
    is_measured_at_evaluations,
    judge_by_control,
    judge_by_forecast,
    signal_level,
)
from smart_tuner.treatment.interventions import Direction, Expectation
from tests.smart_tuner.histories import FLOW, Values, every, make_facts, make_view, noisy

FACTS = make_facts()


def promise(signal: str = "free_diagonality", direction: Direction = "up", **changes: float | None) -> Expectation:
    fields: dict[str, float | None] = {"forecast": 0.5, "noise": 0.05, "target": None} | changes
    return Expectation(signal, direction, 500, fields["forecast"], fields["noise"] or 0.0, fields["target"])


def test_the_level_of_a_signal_of_every_step_is_the_median_of_its_last_ten() -> None:
    assert (
        signal_level(make_view({"total_loss": [9.0] * 20 + [1.0] * 4 + [2.0, 500.0] + [2.0] * 4}), "total_loss") == 2.0
    )
    assert signal_level(make_view({"total_loss": [3.0, None, None, 5.0]}), "total_loss") == 4.0


def test_the_level_of_an_evaluated_signal_is_its_latest_value() -> None:
    assert signal_level(make_view({"diagonality": every(100, [0.1, 0.5, 0.7, None])}), "diagonality") == 0.7
    assert signal_level(make_view({}), "diagonality") is None
    assert is_measured_at_evaluations("diagonality") and not is_measured_at_evaluations("total_loss")


def test_shares_are_of_the_last_ten_steps() -> None:
    losses: list[float | None] = [2.0, 2.0] * 5
    losses += [None, 2.0] * 5
    broken: dict[str, Values] = {"nonfinite_steps": [float(i) for i in range(20)], "total_loss": losses}
    assert signal_level(make_view(broken), "nonfinite_share") == pytest.approx(0.5)
    counts = {"outlier_utterances": [3.0] * 10 + [0.0] * 8 + [1.0, 2.0]}
    assert signal_level(make_view(counts), "outlier_share") == pytest.approx(0.2)
    assert signal_level(make_view({}), "nonfinite_share") is None
    assert signal_level(make_view({}), "outlier_share") is None


def test_half_of_a_trend_is_expected_to_go_on() -> None:
    view = make_view({"free_diagonality": every(100, [0.1, 0.2, 0.3])})
    expected = forecast_signal(view, "free_diagonality", "up", by_step=500)
    assert expected.forecast == pytest.approx(0.3 + 0.5 * 0.001 * 200)
    assert (expected.signal, expected.direction, expected.by_step, expected.target) == (
        "free_diagonality",
        "up",
        500,
        None,
    )


def test_a_share_is_expected_to_stay_one() -> None:
    view = make_view({"free_diagonality": every(100, [0.1, 0.4, 0.7])})
    assert forecast_signal(view, "free_diagonality", "up", by_step=5000).forecast == 1.0
    view = make_view({"free_diagonality": every(100, [0.7, 0.4, 0.1])})
    assert forecast_signal(view, "free_diagonality", "up", by_step=5000).forecast == 0.0


def test_losses_are_expected_in_logarithms_and_within_a_factor() -> None:
    falling = make_view({"total_loss": [8.0 * 0.99**step for step in range(100)]})
    now = signal_level(falling, "total_loss")
    assert now is not None
    forecast = forecast_signal(falling, "total_loss", "down", by_step=150).forecast
    assert forecast == pytest.approx(now * 0.99**25, rel=1e-6)
    assert forecast_signal(falling, "total_loss", "down", by_step=10_000).forecast == pytest.approx(now / math.e)


def test_noise_is_what_the_signal_does_by_itself() -> None:
    quiet, loud = ({"total_loss": noisy(2.0, 100, spread)} for spread in (0.001, 0.3))
    assert forecast_signal(make_view(quiet), "total_loss", "down", by_step=200).noise == 0.05
    assert 0.08 < forecast_signal(make_view(loud), "total_loss", "down", by_step=200).noise < 0.25


def test_what_was_never_measured_has_no_forecast() -> None:
    expected = forecast_signal(make_view({}), "free_diagonality", "up", by_step=500, target=0.7)
    assert (expected.forecast, expected.noise, expected.target) == (None, 0.05, 0.7)
    assert forecast_signal(make_view({"total_loss": [None] * 9}), "total_loss", "down", by_step=20).forecast is None


def test_a_log_likelihood_is_expected_and_judged_as_it_is() -> None:
    flow = make_facts(**FLOW)
    view = make_view({"total_loss": [0.3 - 0.01 * step for step in range(50)]}, flow)
    expected = forecast_signal(view, "total_loss", "down", by_step=100)
    assert expected.forecast == pytest.approx(-0.145 - 0.25)
    assert judge_by_forecast(expected, -0.5, flow).gain == pytest.approx(0.105)
    assert judge_by_forecast(expected, -0.41, flow).verdict == "no_effect"
    assert judge_by_forecast(expected, -0.25, flow).verdict == "harmful"
    small = promise("val_total_loss", "down", forecast=0.02)
    assert judge_by_forecast(small, 0.01, flow).verdict == "no_effect"
    assert judge_by_forecast(small, 0.01, FACTS).verdict == "helped"
    assert judge_by_control(small, 0.02, 0.01, flow).verdict == "no_effect"


@pytest.mark.parametrize(
    ("value", "verdict", "close"),
    [
        (0.56, "helped", False),
        (0.54, "no_effect", True),
        (0.46, "no_effect", True),
        (0.42, "no_effect", False),
        (0.39, "harmful", False),
    ],
)
def test_a_signal_is_judged_beside_its_forecast(value: float, verdict: str, close: bool) -> None:
    judged = judge_by_forecast(promise(), value, FACTS)
    assert (judged.verdict, judged.is_within_noise, judged.value) == (verdict, close, value)
    assert judged.gain == pytest.approx(value - 0.5)


def test_down_is_the_other_way_and_losses_are_ratios() -> None:
    expected = promise("total_loss", "down", forecast=2.0)
    assert judge_by_forecast(expected, 1.8, FACTS).verdict == "helped"
    assert judge_by_forecast(expected, 1.8, FACTS).gain == pytest.approx(math.log(2.0 / 1.8))
    assert judge_by_forecast(expected, 2.3, FACTS).verdict == "harmful"


def test_who_reaches_the_target_was_helped_whatever_the_forecast() -> None:
    assert judge_by_forecast(promise(forecast=0.9, target=0.7), 0.7, FACTS).verdict == "helped"
    assert judge_by_forecast(promise(forecast=0.9, target=0.7), 0.69, FACTS).verdict == "harmful"
    assert judge_by_forecast(promise("total_loss", "down", forecast=1.0, target=3.0), 2.9, FACTS).verdict == "helped"


def test_without_a_forecast_the_target_decides_and_without_either_that_there_is_a_value() -> None:
    assert judge_by_forecast(promise(forecast=None, target=0.7), 0.7, FACTS).verdict == "helped"
    assert judge_by_forecast(promise(forecast=None, target=0.7), 0.6, FACTS).verdict == "no_effect"
    assert judge_by_forecast(promise(forecast=None), 0.6, FACTS).verdict == "helped"


def test_a_signal_that_has_vanished_is_no_help() -> None:
    judged = judge_by_forecast(promise(), None, FACTS)
    assert (judged.verdict, judged.value, judged.is_within_noise) == ("no_effect", None, False)


@pytest.mark.parametrize(
    ("control", "treated", "verdict"),
    [
        (0.5, 0.56, "helped"),
        (0.5, 0.54, "no_effect"),
        (0.5, 0.4, "harmful"),
        (None, 0.1, "helped"),
        (0.5, None, "no_effect"),
        (None, None, "no_effect"),
    ],
)
def test_a_treated_run_is_judged_beside_an_untreated_one(
    control: float | None, treated: float | None, verdict: str
) -> None:
    judged = judge_by_control(promise(forecast=0.9), control, treated, FACTS)
    assert (judged.verdict, judged.value, judged.is_within_noise) == (verdict, treated, False)


def test_races_of_losses_are_won_by_the_lower() -> None:
    expected = promise("val_total_loss", "down")
    assert judge_by_control(expected, 2.0, 1.8, FACTS).verdict == "helped"
    assert judge_by_control(expected, 2.0, 2.2, FACTS).verdict == "harmful"
    assert (
        judge_by_control(expected, 2.0, 2.05, FACTS).verdict
        == judge_by_control(expected, 2.0, 1.95, FACTS).verdict
        == "no_effect"
    )
