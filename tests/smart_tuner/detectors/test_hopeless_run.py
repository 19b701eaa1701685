from __future__ import annotations

from smart_tuner.detectors.hopeless_run import detect
from tests.smart_tuner.histories import false_alarms, make_view


def test_a_critical_ailment_without_a_remedy_left_ends_the_run_after_an_evaluation() -> None:
    view = make_view({}, step=600, active={"attention_lost": 400}, helpless={"attention_lost": 500})
    found = detect(view)
    assert found is not None
    assert (found.severity, found.step, found.since) == ("critical", 600, 500)
    assert found.evidence == {"attention_lost": 500.0}
    assert detect(make_view({}, step=599, active={"attention_lost": 400}, helpless={"attention_lost": 500})) is None


def test_what_has_healed_is_not_waited_for() -> None:
    assert detect(make_view({}, step=900, active={"plateau": 1}, helpless={"attention_lost": 500})) is None


def test_the_longest_wait_counts_and_all_are_named() -> None:
    active = {"attention_lost": 1, "loss_spike": 2, "plateau": 3}
    found = detect(make_view({}, step=700, active=active, helpless={"attention_lost": 650, "loss_spike": 600}))
    assert found is not None and found.since == 600
    assert found.evidence == {"attention_lost": 650.0, "loss_spike": 600.0}


def test_with_nothing_wrong_nothing_is_hopeless() -> None:
    assert detect(make_view({}, step=10_000)) is None
    assert detect(make_view({}, step=10_000, active={"attention_lost": 1})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("hopeless_run") == []
