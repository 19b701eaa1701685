from __future__ import annotations

from smart_tuner.detectors.machine.memory import detect
from tests.smart_tuner.histories import false_alarms, make_view


def test_a_step_that_did_not_fit_is_critical_at_once() -> None:
    found = detect(make_view({"out_of_memory_steps": [0.0, 0.0, 1.0]}))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("critical", 3, 3)
    assert found.evidence == {"out_of_memory_steps": 1.0}


def test_the_first_step_may_not_fit_either() -> None:
    assert detect(make_view({"out_of_memory_steps": [1.0]})) is not None


def test_the_step_after_it_fits_or_does_not() -> None:
    assert detect(make_view({"out_of_memory_steps": [0.0, 1.0, 1.0]})) is None
    assert detect(make_view({"out_of_memory_steps": [0.0, 1.0, 2.0]})) is not None


def test_an_attempt_after_it_starts_with_its_count_and_is_well() -> None:
    assert detect(make_view({"out_of_memory_steps": [0.0, 2.0, 2.0]}, begin=2)) is None
    assert detect(make_view({"out_of_memory_steps": [0.0, 2.0, 3.0]}, begin=2)) is not None


def test_gaps_say_nothing() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"out_of_memory_steps": [0.0, 1.0, None]})) is None
    assert detect(make_view({"out_of_memory_steps": [0.0, 1.0]}, step=3)) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("out_of_memory") == []
