from __future__ import annotations

import math

import pytest

from smart_tuner.treatment.verdicts.forecast import forecast_signal, is_measured_at_evaluations, signal_level
from tests.smart_tuner.histories import FLOW, Values, every, make_facts, make_view, noisy


def test_the_level_of_a_step_signal_is_the_median_of_its_last_ten_values() -> None:
    losses = [9.0] * 20 + [1.0] * 4 + [2.0, 500.0] + [2.0] * 4
    assert signal_level(make_view({"total_loss": losses}), "total_loss") == 2.0
    assert signal_level(make_view({"total_loss": [3.0, None, None, 5.0]}), "total_loss") == 4.0


def test_the_level_of_an_evaluation_signal_is_its_latest_value() -> None:
    assert signal_level(make_view({"diagonality": every(100, [0.1, 0.5, 0.7, None])}), "diagonality") == 0.7
    assert signal_level(make_view({}), "diagonality") is None
    assert is_measured_at_evaluations("diagonality") and not is_measured_at_evaluations("total_loss")


def test_derived_shares_cover_the_last_ten_steps() -> None:
    losses: list[float | None] = [2.0, 2.0] * 5
    losses += [None, 2.0] * 5
    broken: dict[str, Values] = {"nonfinite_steps": [float(i) for i in range(20)], "total_loss": losses}
    assert signal_level(make_view(broken), "nonfinite_share") == pytest.approx(0.5)
    counts = {"outlier_utterances": [3.0] * 10 + [0.0] * 8 + [1.0, 2.0]}
    assert signal_level(make_view(counts), "outlier_share") == pytest.approx(0.2)
    assert signal_level(make_view({}), "nonfinite_share") is None
    assert signal_level(make_view({}), "outlier_share") is None


def test_half_of_a_trend_is_expected_to_continue() -> None:
    view = make_view({"free_diagonality": every(100, [0.1, 0.2, 0.3])})
    expected = forecast_signal(view, "free_diagonality", "up", by_step=500)
    assert expected.forecast == pytest.approx(0.3 + 0.5 * 0.001 * 200)
    assert (expected.signal, expected.direction) == ("free_diagonality", "up")
    assert (expected.by_step, expected.target) == (500, None)


def test_the_forecast_of_a_share_is_between_0_and_1() -> None:
    view = make_view({"free_diagonality": every(100, [0.1, 0.4, 0.7])})
    assert forecast_signal(view, "free_diagonality", "up", by_step=5000).forecast == 1.0
    view = make_view({"free_diagonality": every(100, [0.7, 0.4, 0.1])})
    assert forecast_signal(view, "free_diagonality", "up", by_step=5000).forecast == 0.0


def test_losses_are_forecast_in_logarithms_within_a_factor_of_e() -> None:
    falling = make_view({"total_loss": [8.0 * 0.99**step for step in range(100)]})
    now = signal_level(falling, "total_loss")
    assert now is not None
    forecast = forecast_signal(falling, "total_loss", "down", by_step=150).forecast
    assert forecast == pytest.approx(now * 0.99**25, rel=1e-4)
    longest = forecast_signal(falling, "total_loss", "down", by_step=10_000).forecast
    assert longest == pytest.approx(now / math.e, rel=1e-4)


def test_noise_is_measured_from_the_signal() -> None:
    quiet, loud = ({"total_loss": noisy(2.0, 100, spread)} for spread in (0.001, 0.3))
    assert forecast_signal(make_view(quiet), "total_loss", "down", by_step=200).noise == 0.05
    assert 0.08 < forecast_signal(make_view(loud), "total_loss", "down", by_step=200).noise < 0.25


def test_a_signal_without_values_has_no_forecast() -> None:
    expected = forecast_signal(make_view({}), "free_diagonality", "up", by_step=500, target=0.7)
    assert (expected.forecast, expected.noise, expected.target) == (None, 0.05, 0.7)
    assert forecast_signal(make_view({"total_loss": [None] * 9}), "total_loss", "down", by_step=20).forecast is None


def test_a_log_likelihood_is_forecast_by_differences() -> None:
    flow = make_facts(**FLOW)
    view = make_view({"total_loss": [0.3 - 0.01 * step for step in range(50)]}, flow)
    expected = forecast_signal(view, "total_loss", "down", by_step=100)
    assert expected.forecast == pytest.approx(-0.145 - 0.25)
