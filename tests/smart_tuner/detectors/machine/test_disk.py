from __future__ import annotations

from typing import Any

import pytest

from smart_tuner.detectors.machine.disk import detect_disk_running_full
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import make_view


def diagnose(free: float | None, size: float | None = 100.0, **changes: Any) -> Diagnosis | None:
    series = {"disk_free_bytes": {50: free}, "checkpoint_bytes": {50: size}}
    return detect_disk_running_full(make_view(series, **changes))


@pytest.mark.parametrize(("free", "is_full"), [(0.0, True), (199.0, True), (200.0, False)])
def test_room_for_less_than_two_checkpoints_is_too_little(free: float, is_full: bool) -> None:
    assert (diagnose(free) is not None) is is_full


def test_the_evidence_is_the_free_space_and_the_checkpoint_size() -> None:
    diagnosis = diagnose(150.0)
    assert diagnosis is not None and (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 50, 50)
    assert diagnosis.evidence == {"disk_free_bytes": 150.0, "checkpoint_bytes": 100.0}


def test_it_ends_when_there_is_room_for_four() -> None:
    assert diagnose(399.0, active={"disk_running_full": 50}) is not None
    assert diagnose(400.0, active={"disk_running_full": 50}) is None
    assert diagnose(399.0) is None


def test_the_latest_measurement_counts() -> None:
    series = {"disk_free_bytes": {50: 10.0, 100: 1000.0}, "checkpoint_bytes": {50: 100.0, 100: 100.0}}
    assert detect_disk_running_full(make_view(series)) is None


def test_missing_measurements_are_no_ailment() -> None:
    assert detect_disk_running_full(make_view({})) is None
    assert diagnose(None) is None
    assert diagnose(10.0, None) is None
