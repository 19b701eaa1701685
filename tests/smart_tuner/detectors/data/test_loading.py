from __future__ import annotations

from smart_tuner.detectors.data.loading import detect
from tests.smart_tuner.histories import false_alarms, make_view, noisy


def test_training_that_mostly_waits_starves() -> None:
    found = detect(make_view({"data_wait_share": [0.01] * 50 + [0.6] * 100}))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 150, 51)
    assert found.evidence == {"data_wait_share": 0.6}


def test_it_enters_at_three_tenths_and_leaves_at_one() -> None:
    active = {"data_starvation": 1}
    assert detect(make_view({"data_wait_share": [0.3] * 100})) is not None
    assert detect(make_view({"data_wait_share": [0.29] * 100})) is None
    assert detect(make_view({"data_wait_share": [0.1] * 100}, active=active)) is not None
    assert detect(make_view({"data_wait_share": [0.09] * 100}, active=active)) is None


def test_waiting_at_the_start_of_each_epoch_is_no_starving() -> None:
    assert detect(make_view({"data_wait_share": ([0.9] + noisy(0.02, 5)) * 20})) is None


def test_too_few_steps_say_nothing() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"data_wait_share": [0.9] * 99})) is None
    assert detect(make_view({"data_wait_share": [0.9, None] * 100})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("data_starvation") == []
