"""Time limits that are learnt from the durations of finished work."""

from __future__ import annotations

import pytest

from training.progress_timeout import AwakeClock, ProgressTimeout


@pytest.fixture
def timeout() -> ProgressTimeout:
    """Started at 0 s; at least 5 s, and 100 s for work that has never been finished."""
    return ProgressTimeout(least_seconds=5.0, start_seconds=100.0)


def test_the_long_limit_applies_until_two_steps_are_done(timeout: ProgressTimeout) -> None:
    assert timeout.limit_seconds == 100.0
    timeout.done(60.0)
    assert (timeout.waited_seconds(70.0), timeout.limit_seconds) == (10.0, 100.0)
    timeout.done(62.0)
    assert timeout.limit_seconds == 20.0


def test_the_limit_follows_the_longest_step_and_is_never_below_the_least(timeout: ProgressTimeout) -> None:
    for now in (10.0, 10.1, 13.1, 13.2):
        timeout.done(now)
    assert timeout.limit_seconds == pytest.approx(30.0)
    fast = ProgressTimeout(least_seconds=5.0, start_seconds=100.0)
    fast.done(1.0)
    fast.done(1.1)
    assert fast.limit_seconds == 5.0


def test_steps_and_evaluations_have_limits_of_their_own(timeout: ProgressTimeout) -> None:
    for now in (1.0, 2.0):
        timeout.done(now)
    timeout.begin("evaluation", 2.0)
    assert timeout.limit_seconds == 100.0
    timeout.done(9.0)
    assert timeout.limit_seconds == 10.0
    timeout.begin("evaluation", 10.0)
    assert timeout.limit_seconds == 70.0


def test_an_unfinished_step_is_not_counted(timeout: ProgressTimeout) -> None:
    timeout.done(1.0)
    timeout.begin("evaluation", 1.0)
    timeout.done(2.0)
    assert timeout.limit_seconds == 100.0


def test_a_restart_keeps_all_limits_but_that_of_the_start(timeout: ProgressTimeout) -> None:
    for now in (1.0, 2.0):
        timeout.done(now)
    timeout.begin("start", 0.0)
    assert timeout.limit_seconds == 100.0
    timeout.done(50.0)
    assert timeout.limit_seconds == 10.0


def test_a_process_that_reported_its_end_has_the_least_time_to_exit(timeout: ProgressTimeout) -> None:
    timeout.begin("end", 3.0)
    assert timeout.limit_seconds == 5.0


def test_time_in_which_the_machine_slept_is_not_counted() -> None:
    readings = iter([1000.0, 1001.0, 9000.0, 9000.5])
    clock = AwakeClock(2.0, lambda: next(readings))
    assert [clock.now() for _ in range(3)] == [1.0, 3.0, 3.5]
