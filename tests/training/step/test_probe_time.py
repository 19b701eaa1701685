"""Time for measuring before a run begins."""

from __future__ import annotations

import math

import pytest

from training.step.probe import MAX_PROBE_SECONDS, ProbeTime


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(("run_seconds", "expected"), [(math.inf, MAX_PROBE_SECONDS), (1000.0, 30.0), (60.0, 6.0)])
def test_half_a_minute_or_a_tenth_of_the_run(run_seconds: float, expected: float) -> None:
    clock = Clock()
    time = ProbeTime(10, run_seconds, now=clock)
    assert time.left == pytest.approx(expected)
    clock.seconds += 4.0
    assert time.left == pytest.approx(expected - 4.0)


def test_a_short_run_leaves_less_as_soon_as_its_length_is_known() -> None:
    time = ProbeTime(100, math.inf, now=Clock())
    time.limit_to_run(0.2)
    assert time.left == pytest.approx(2.0)
    time.limit_to_run(100.0)
    assert time.left == pytest.approx(2.0)
