from __future__ import annotations

from smart_tuner.detectors.data.utterances import detect_bad_utterance
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import OutlierHistory
from tests.smart_tuner.histories import make_facts, make_view


def diagnose(*appearances: tuple[int, str, float | None], step: int = 200) -> Diagnosis | None:
    outliers = OutlierHistory()
    for at, utterance, ratio in appearances:
        outliers.record(at, {utterance: ratio})
    return detect_bad_utterance(make_view({}, make_facts(steps_per_epoch=50), outliers=outliers, step=step))


def test_an_utterance_with_an_extreme_loss_is_bad_at_once() -> None:
    diagnosis = diagnose((20, "loud", 100.0), (35, "other", 99.0), (80, "loud", 30.0))
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.since, diagnosis.utterances) == ("warning", 20, ("loud",))
    assert diagnosis.evidence == {"utterances": 1, "not_finite": 0, "appearances": 2, "loss_ratio": 100.0}


def test_an_utterance_with_a_nonfinite_loss_is_bad_at_once() -> None:
    diagnosis = diagnose((20, "broken", None))
    assert diagnosis is not None and diagnosis.utterances == ("broken",)
    assert diagnosis.evidence == {"utterances": 1, "not_finite": 1, "appearances": 1}


def test_all_bad_utterances_are_named_in_alphabetical_order() -> None:
    diagnosis = diagnose((20, "z", 800.0), (21, "b", None), (22, "a", None))
    assert diagnosis is not None and diagnosis.utterances == ("a", "b", "z")
    assert diagnosis.evidence["not_finite"] == 2


def test_a_difficult_sentence_is_not_bad_however_often_it_stands_out() -> None:
    assert diagnose() is None
    assert diagnose(*((step, "difficult", 7.0) for step in range(20, 200, 20))) is None


def test_after_a_rollback_the_start_is_not_in_the_future() -> None:
    diagnosis = diagnose((70, "a", 800.0), (90, "a", 8.0), step=60)
    assert diagnosis is not None and diagnosis.since == 60
