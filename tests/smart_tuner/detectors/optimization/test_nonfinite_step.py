from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest

from smart_tuner.detectors.optimization.nonfinite_step import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import Values, false_alarms, make_view


def broken(steps: int, is_broken: Callable[[int], bool], begin: int = 0, before: float = 0.0) -> Diagnosis | None:
    numbers = range(begin + 1, begin + steps + 1)
    counts = accumulate((float(is_broken(step - begin)) for step in numbers), initial=before)
    series: dict[str, Values] = {
        "nonfinite_steps": dict(zip(numbers, list(counts)[1:], strict=True)),
        "total_loss": {step: None if is_broken(step - begin) else 2.0 for step in numbers},
    }
    return detect(make_view(series, begin=begin))


def test_every_third_step_is_a_warning() -> None:
    found = broken(60, lambda step: step > 50 and step % 3 == 0)
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 60, 51)
    assert found.evidence == {"nonfinite_steps": 4, "of_the_last": 20, "were": 4}


@pytest.mark.parametrize(
    ("n_broken", "severity"), [(1, "notice"), (2, "notice"), (3, "warning"), (9, "warning"), (10, "critical")]
)
def test_how_many_of_the_last_steps_makes_the_severity(n_broken: int, severity: str) -> None:
    found = broken(100, lambda step: step > 100 - n_broken)
    assert found is not None and (found.severity, found.since) == (severity, 101 - n_broken)


def test_twenty_finite_steps_heal() -> None:
    assert broken(79, lambda step: step == 60) is not None
    assert broken(80, lambda step: step == 60) is None


def test_rare_overflows_of_float16_are_notices() -> None:
    for steps in range(60, 700, 7):
        found = broken(steps, lambda step: step % 200 == 50)
        assert found is None or found.severity == "notice"


@pytest.mark.parametrize("begin", [0, 500])
def test_float16_may_look_for_its_scale_in_the_first_steps(begin: int) -> None:
    for steps in range(1, 40):
        assert broken(steps, lambda step: step <= 9, begin, before=7.0) is None


def test_one_that_is_never_finite_is_critical_after_a_dozen_steps() -> None:
    assert broken(10, lambda step: True) is None
    found = broken(12, lambda step: True)
    assert found is not None and found.severity == "critical"


def test_what_follows_the_search_for_a_scale_counts() -> None:
    found = broken(20, lambda step: step <= 5 or step in (10, 13, 16))
    assert found is not None and (found.severity, found.since) == ("warning", 10)


def test_every_third_step_from_the_first_on_is_found() -> None:
    found = broken(12, lambda step: step % 3 == 1)
    assert found is not None and (found.severity, found.since) == ("warning", 4)


def test_missing_counts_say_nothing() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"nonfinite_steps": [5.0]})) is None
    assert detect(make_view({"nonfinite_steps": [None] * 30})) is None
    assert detect(make_view({"nonfinite_steps": [3.0] * 30})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("nonfinite_step") == []
