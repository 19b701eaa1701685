from __future__ import annotations

from smart_tuner.detectors.machine.memory import detect_out_of_memory
from tests.smart_tuner.histories import on_series

diagnose_memory = on_series(detect_out_of_memory)


def test_a_step_out_of_memory_is_critical_at_once() -> None:
    diagnosis = diagnose_memory({"out_of_memory_steps": [0.0, 0.0, 1.0]})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("critical", 3, 3)
    assert diagnosis.evidence == {"out_of_memory_steps": 1.0}


def test_the_first_step_may_be_out_of_memory() -> None:
    assert diagnose_memory({"out_of_memory_steps": [1.0]}) is not None


def test_the_next_step_is_judged_by_its_own_count() -> None:
    assert diagnose_memory({"out_of_memory_steps": [0.0, 1.0, 1.0]}) is None
    assert diagnose_memory({"out_of_memory_steps": [0.0, 1.0, 2.0]}) is not None


def test_the_count_goes_on_in_the_next_attempt() -> None:
    assert diagnose_memory({"out_of_memory_steps": [0.0, 2.0, 2.0]}, attempt_start=2) is None
    assert diagnose_memory({"out_of_memory_steps": [0.0, 2.0, 3.0]}, attempt_start=2) is not None


def test_missing_counts_are_no_ailment() -> None:
    assert diagnose_memory({}) is None
    assert diagnose_memory({"out_of_memory_steps": [0.0, 1.0, None]}) is None
    assert diagnose_memory({"out_of_memory_steps": [0.0, 1.0]}, step=3) is None
