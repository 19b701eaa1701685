from __future__ import annotations

import pytest

from smart_tuner.detectors.data.utterances import detect
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import OutlierMemory
from tests.smart_tuner.histories import false_alarms, make_facts, make_view


def seen(*appearances: tuple[int, str, float | None], step: int = 200) -> Diagnosis | None:
    memory = OutlierMemory()
    for at, utterance, ratio in appearances:
        memory.record(at, {utterance: ratio})
    return detect(make_view({}, make_facts(steps_per_epoch=50), outliers=memory, step=step))


def test_an_utterance_that_stands_out_three_times_is_bad() -> None:
    found = seen((20, "loud", 8.0), (35, "other", 5.0), (80, "loud", 30.0), (120, "loud", 9.0))
    assert found is not None
    assert (found.severity, found.since, found.utterances) == ("warning", 20, ("loud",))
    assert found.evidence == {"utterances": 1, "not_finite": 0, "appearances": 3, "loss_ratio": 30.0}


def test_one_that_is_not_finite_is_bad_at_once() -> None:
    found = seen((20, "broken", None))
    assert found is not None and found.utterances == ("broken",)
    assert found.evidence == {"utterances": 1, "not_finite": 1, "appearances": 1}


def test_all_bad_ones_are_named_in_their_order() -> None:
    found = seen((20, "z", 8.0), (21, "b", None), (22, "a", None), (60, "z", 9.0), (90, "z", 9.0))
    assert found is not None and found.utterances == ("a", "b", "z")
    assert found.evidence["not_finite"] == 2


def test_standing_out_twice_is_chance() -> None:
    assert seen() is None
    assert seen((20, "a", 8.0), (40, "b", 8.0), (60, "a", 8.0)) is None


@pytest.mark.parametrize(("apart", "is_bad"), [(150, True), (151, False)])
def test_a_bad_one_stands_out_again_within_a_few_epochs(apart: int, is_bad: bool) -> None:
    assert (seen((10, "a", 8.0), (50, "a", 8.0), (10 + apart, "a", 8.0)) is not None) is is_bad


def test_standing_out_now_and_then_in_a_long_run_is_chance() -> None:
    assert seen(*((step, "long sentence", 5.5) for step in range(100, 100_000, 5000)), step=100_000) is None


def test_the_same_batch_once_more_after_a_rollback_is_no_other_time() -> None:
    assert seen((50, "a", 8.0), (70, "a", 8.0), (70, "a", 8.0)) is None


def test_after_a_rollback_it_does_not_begin_in_the_future() -> None:
    found = seen((70, "a", 8.0), (90, "a", 8.0), (99, "a", 8.0), step=60)
    assert found is not None and found.since == 60


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("bad_utterance") == []
