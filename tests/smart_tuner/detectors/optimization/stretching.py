"""Curves stretched ten times: detectors must see in a long run what they see in a short one."""

from __future__ import annotations

from collections.abc import Sequence

from smart_tuner.diagnosis import Diagnosis

LONG = {"steps_per_evaluation": 1000, "steps_per_epoch": 500, "planned_steps": 4500}
"""Ten times the facts of `make_facts`: a stride has ten steps instead of one."""
LONG_STRIDE_STEPS = 10


def stretched(values: Sequence[float | None]) -> list[float | None]:
    """The same values, each of them ten times."""
    return [value for value in values for _ in range(10)]


def is_stretched(long: Diagnosis | None, short: Diagnosis | None) -> bool:
    """Whether both runs are healthy, or have the same ailment at ten times the step."""
    if long is None or short is None:
        return long is short
    is_same = (long.ailment, long.severity, long.step) == (short.ailment, short.severity, 10 * short.step)
    return is_same and abs(long.since - 10 * short.since) < LONG_STRIDE_STEPS
