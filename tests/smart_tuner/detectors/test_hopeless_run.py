from __future__ import annotations

from smart_tuner.detectors.hopeless_run import detect_hopeless_run
from tests.smart_tuner.histories import make_view, on_series

diagnose_hopeless = on_series(detect_hopeless_run)


def test_an_untreatable_critical_ailment_is_hopeless_after_one_evaluation_interval() -> None:
    view = make_view({}, step=600, active={"attention_lost": 400}, untreatable={"attention_lost": 500})
    diagnosis = detect_hopeless_run(view)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("critical", 600, 500)
    assert diagnosis.evidence == {"attention_lost": 500.0}
    assert diagnose_hopeless({}, step=599, active={"attention_lost": 400}, untreatable={"attention_lost": 500}) is None


def test_an_ailment_that_has_disappeared_is_not_hopeless() -> None:
    assert diagnose_hopeless({}, step=900, active={"plateau": 1}, untreatable={"attention_lost": 500}) is None


def test_all_untreatable_ailments_are_named_and_the_longest_counts() -> None:
    active = {"attention_lost": 1, "loss_spike": 2, "plateau": 3}
    diagnosis = diagnose_hopeless({}, step=700, active=active, untreatable={"attention_lost": 650, "loss_spike": 600})
    assert diagnosis is not None and diagnosis.since == 600
    assert diagnosis.evidence == {"attention_lost": 650.0, "loss_spike": 600.0}


def test_a_treatable_ailment_is_not_hopeless() -> None:
    assert diagnose_hopeless({}, step=10_000) is None
    assert diagnose_hopeless({}, step=10_000, active={"attention_lost": 1}) is None
