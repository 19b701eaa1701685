"""Signals of training steps, and outliers among the utterances of a batch."""

import math

import pytest

from monitoring.measures.signals import OUTLIER_RATIO, outlier_utterances, step_signals
from tests.monitoring.measures.sample_reports import make_step


def test_step_signals_have_every_number_of_the_report() -> None:
    assert step_signals(make_step()) == {
        "mel_loss": 1.0,
        "gate_loss": 0.5,
        "guide_loss": 0.25,
        "total_loss": 1.75,
        "gradient_norm": 3.0,
        "learning_rate": 1e-3,
        "update_ratio": 2e-3,
        "frames_per_second": 9000.0,
        "data_wait_share": 0.01,
        "memory_bytes": 2**33,
        "nonfinite_steps": 2,
        "out_of_memory_steps": 0,
        "outlier_utterances": 0,
    }


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_nonfinite_step_has_no_gradient_norm(loss: float | None) -> None:
    signals = step_signals(make_step(total_loss=loss))
    assert signals["total_loss"] is None
    assert signals["gradient_norm"] is None


def test_a_nonfinite_gradient_is_none_beside_a_finite_loss() -> None:
    signals = step_signals(make_step(gradient_norm=math.inf))
    assert (signals["gradient_norm"], signals["total_loss"]) == (None, 1.75)


def outliers_of(*losses: float) -> dict[str, float | None]:
    return outlier_utterances(make_step(utterance_ids=tuple("abcd"[: len(losses)]), utterance_losses=losses))


def test_an_outlier_is_reported_as_a_multiple_of_the_median() -> None:
    assert outliers_of(1.0, 2.0, 3.0, 2.0) == {}
    assert outliers_of(1.0, 1.0, 1.0, OUTLIER_RATIO) == {"d": OUTLIER_RATIO}
    assert outliers_of(2.0, 2.0, 2.0, 0.99 * 2 * OUTLIER_RATIO) == {}
    assert outliers_of(2.0, 100.0, 2.0) == {"b": 50.0}


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_nonfinite_loss_is_an_outlier_without_a_multiple(broken: float) -> None:
    assert outliers_of(1.0, broken, 1.0, 9.0) == {"b": None, "d": 9.0}
    assert outliers_of(1.0, broken) == {"b": None}


def test_a_batch_without_finite_losses_has_no_outliers() -> None:
    assert outliers_of(math.nan, math.nan, math.inf) == {}
    assert outliers_of() == {}


def test_a_median_of_zero_gives_only_nonfinite_outliers() -> None:
    assert outliers_of(0.0, 0.0, 0.0) == {}
    assert outliers_of(0.0, 0.0, 3.0) == {}
    assert outliers_of(0.0, 0.0, math.nan) == {"c": None}


def test_step_signals_count_outliers_and_out_of_memory_steps() -> None:
    assert step_signals(make_step(utterance_losses=(1.0, math.nan, 1.0)))["outlier_utterances"] == 1.0
    assert step_signals(make_step(out_of_memory_steps=3))["out_of_memory_steps"] == 3.0
