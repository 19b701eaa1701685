from __future__ import annotations

import pytest

from smart_tuner.detectors.data.utterances import detect_bad_utterance
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import OutlierHistory
from tests.smart_tuner.histories import make_facts, make_view


def diagnose(*appearances: tuple[int, str, float | None], step: int = 200) -> Diagnosis | None:
    outliers = OutlierHistory()
    for at, utterance, ratio in appearances:
        outliers.record(at, {utterance: ratio})
    return detect_bad_utterance(make_view({}, make_facts(steps_per_epoch=50), outliers=outliers, step=step))


def test_an_utterance_that_is_an_outlier_three_times_is_bad() -> None:
    diagnosis = diagnose((20, "loud", 8.0), (35, "other", 5.0), (80, "loud", 30.0), (120, "loud", 9.0))
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.since, diagnosis.utterances) == ("warning", 20, ("loud",))
    assert diagnosis.evidence == {"utterances": 1, "not_finite": 0, "appearances": 3, "loss_ratio": 30.0}


def test_an_utterance_with_a_nonfinite_loss_is_bad_at_once() -> None:
    diagnosis = diagnose((20, "broken", None))
    assert diagnosis is not None and diagnosis.utterances == ("broken",)
    assert diagnosis.evidence == {"utterances": 1, "not_finite": 1, "appearances": 1}


def test_all_bad_utterances_are_named_in_alphabetical_order() -> None:
    diagnosis = diagnose((20, "z", 8.0), (21, "b", None), (22, "a", None), (60, "z", 9.0), (90, "z", 9.0))
    assert diagnosis is not None and diagnosis.utterances == ("a", "b", "z")
    assert diagnosis.evidence["not_finite"] == 2


def test_an_outlier_twice_is_not_bad() -> None:
    assert diagnose() is None
    assert diagnose((20, "a", 8.0), (40, "b", 8.0), (60, "a", 8.0)) is None


@pytest.mark.parametrize(("apart", "is_bad"), [(150, True), (151, False)])
def test_the_three_appearances_must_lie_within_three_epochs(apart: int, is_bad: bool) -> None:
    assert (diagnose((10, "a", 8.0), (50, "a", 8.0), (10 + apart, "a", 8.0)) is not None) is is_bad


def test_rare_appearances_in_a_long_run_are_not_bad() -> None:
    assert diagnose(*((step, "long sentence", 5.5) for step in range(100, 100_000, 5000)), step=100_000) is None


def test_the_same_step_repeated_after_a_rollback_counts_once() -> None:
    assert diagnose((50, "a", 8.0), (70, "a", 8.0), (70, "a", 8.0)) is None


def test_after_a_rollback_the_start_is_not_in_the_future() -> None:
    diagnosis = diagnose((70, "a", 8.0), (90, "a", 8.0), (99, "a", 8.0), step=60)
    assert diagnosis is not None and diagnosis.since == 60
