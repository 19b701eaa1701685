from __future__ import annotations

import pytest

from smart_tuner.detectors import DETECTORS
from tests.smart_tuner.histories import false_alarms


@pytest.mark.parametrize("ailment", DETECTORS)
def test_healthy_runs_cause_no_false_alarm(ailment: str) -> None:
    assert false_alarms(ailment) == []
