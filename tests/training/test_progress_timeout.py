"""How long a training may be silent."""

from __future__ import annotations

import pytest

from training.progress_timeout import AwakeClock, ProgressTimeout


@pytest.fixture
def patience() -> ProgressTimeout:
    """Begun at 0 s: at least 5 s, 100 s for what was never seen to end."""
    return ProgressTimeout(least_seconds=5.0, start_seconds=100.0)


def test_before_two_steps_are_done_only_the_long_limit_holds(patience: ProgressTimeout) -> None:
    assert patience.limit_seconds == 100.0
    patience.done(60.0)
    assert (patience.waited_seconds(70.0), patience.limit_seconds) == (10.0, 100.0)
    patience.done(62.0)
    assert patience.limit_seconds == 20.0


def test_the_longest_step_is_remembered_and_the_least_limit_kept(patience: ProgressTimeout) -> None:
    for now in (10.0, 10.1, 13.1, 13.2):
        patience.done(now)
    assert patience.limit_seconds == pytest.approx(30.0)
    quick = ProgressTimeout(least_seconds=5.0, start_seconds=100.0)
    quick.done(1.0)
    quick.done(1.1)
    assert quick.limit_seconds == 5.0


def test_the_first_evaluation_is_not_measured_by_the_steps_nor_they_by_it(patience: ProgressTimeout) -> None:
    for now in (1.0, 2.0):
        patience.done(now)
    patience.begin("evaluation", 2.0)
    assert patience.limit_seconds == 100.0
    patience.done(9.0)
    assert patience.limit_seconds == 10.0
    patience.begin("evaluation", 10.0)
    assert patience.limit_seconds == 70.0


def test_a_step_that_was_not_finished_teaches_nothing(patience: ProgressTimeout) -> None:
    patience.done(1.0)
    patience.begin("evaluation", 1.0)
    patience.done(2.0)
    assert patience.limit_seconds == 100.0


def test_what_was_learnt_outlives_a_restart_but_for_the_start(patience: ProgressTimeout) -> None:
    for now in (1.0, 2.0):
        patience.done(now)
    patience.begin("start", 0.0)
    assert patience.limit_seconds == 100.0
    patience.done(50.0)
    assert patience.limit_seconds == 10.0


def test_after_its_last_word_a_process_has_the_least_patience_to_end(patience: ProgressTimeout) -> None:
    patience.begin("end", 3.0)
    assert patience.limit_seconds == 5.0


def test_time_slept_through_does_not_count() -> None:
    times = iter([1000.0, 1001.0, 9000.0, 9000.5])
    clock = AwakeClock(2.0, lambda: next(times))
    assert [clock.now() for _ in range(3)] == [1.0, 3.0, 3.5]
