from __future__ import annotations

import pytest

from smart_tuner.detectors.data.loading import detect_data_starvation
from tests.smart_tuner.detectors.optimization.stretching import LONG, is_stretched, stretched
from tests.smart_tuner.histories import make_facts, make_view, noisy


def test_training_that_mostly_waits_is_starved() -> None:
    diagnosis = detect_data_starvation(make_view({"data_wait_share": [0.01] * 50 + [0.6] * 30}))
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 80, 51)
    assert diagnosis.evidence == {"data_wait_share": 0.6}


def test_it_enters_at_a_share_of_three_tenths_and_ends_at_one_tenth() -> None:
    active = {"data_starvation": 1}
    assert detect_data_starvation(make_view({"data_wait_share": [0.3] * 100})) is not None
    assert detect_data_starvation(make_view({"data_wait_share": [0.29] * 100})) is None
    assert detect_data_starvation(make_view({"data_wait_share": [0.1] * 100}, active=active)) is not None
    assert detect_data_starvation(make_view({"data_wait_share": [0.09] * 100}, active=active)) is None


def test_waiting_at_the_start_of_each_epoch_is_no_starvation() -> None:
    assert detect_data_starvation(make_view({"data_wait_share": ([0.9] + noisy(0.02, 5)) * 20})) is None


def test_too_few_steps_are_no_starvation() -> None:
    assert detect_data_starvation(make_view({})) is None
    assert detect_data_starvation(make_view({"data_wait_share": [0.9] * 29})) is None
    assert detect_data_starvation(make_view({"data_wait_share": [0.9] * 30})) is not None
    assert detect_data_starvation(make_view({"data_wait_share": [0.9, None] * 100})) is None


@pytest.mark.parametrize(("n_waits", "is_starved"), [(14, False), (16, True)])
def test_starvation_of_a_run_ten_times_as_long_is_the_same(n_waits: int, is_starved: bool) -> None:
    shares = [0.01] * 50 + [0.6] * n_waits
    short = detect_data_starvation(make_view({"data_wait_share": shares}))
    long = detect_data_starvation(make_view({"data_wait_share": stretched(shares)}, make_facts(**LONG)))
    assert (short is not None) is is_starved and is_stretched(long, short)
