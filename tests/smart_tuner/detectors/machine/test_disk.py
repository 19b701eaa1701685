from __future__ import annotations

from typing import Any

import pytest

from smart_tuner.detectors.machine.disk import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import false_alarms, make_view


def saved(free: float | None, size: float | None = 100.0, **changes: Any) -> Diagnosis | None:
    return detect(make_view({"disk_free_bytes": {50: free}, "checkpoint_bytes": {50: size}}, **changes))


@pytest.mark.parametrize(("free", "is_full"), [(0.0, True), (199.0, True), (200.0, False)])
def test_room_for_less_than_two_checkpoints_is_too_little(free: float, is_full: bool) -> None:
    assert (saved(free) is not None) is is_full


def test_the_evidence_is_what_is_free_and_what_is_needed() -> None:
    found = saved(150.0)
    assert found is not None and (found.severity, found.step, found.since) == ("warning", 50, 50)
    assert found.evidence == {"disk_free_bytes": 150.0, "checkpoint_bytes": 100.0}


def test_it_leaves_when_there_is_room_for_four() -> None:
    assert saved(399.0, active={"disk_running_full": 50}) is not None
    assert saved(400.0, active={"disk_running_full": 50}) is None
    assert saved(399.0) is None


def test_the_latest_measurement_counts() -> None:
    series = {"disk_free_bytes": {50: 10.0, 100: 1000.0}, "checkpoint_bytes": {50: 100.0, 100: 100.0}}
    assert detect(make_view(series)) is None


def test_what_was_not_measured_says_nothing() -> None:
    assert detect(make_view({})) is None
    assert saved(None) is None
    assert saved(10.0, None) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("disk_running_full") == []
