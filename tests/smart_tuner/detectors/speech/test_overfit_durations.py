from __future__ import annotations

from collections.abc import Sequence

import pytest

from smart_tuner.detectors import DETECTORS
from smart_tuner.detectors.speech.overfit_durations import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import FLOW, Values, every, falling, false_alarms, make_facts, make_view

RISING = [0.3, 0.2, 0.16, 0.15, 0.155, 0.2, 0.21, 0.22]


def diagnosed(losses: Sequence[float], training: Sequence[float], **active: int) -> Diagnosis | None:
    series: dict[str, Values] = {"val_duration_loss": every(100, losses), "duration_loss": training}
    return detect(make_view(series, make_facts(**FLOW), active=active))


def test_held_out_durations_get_worse_while_those_of_training_get_better() -> None:
    found = diagnosed(RISING, falling(0.3, 0.05, 800))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 800, 400)
    assert found.evidence["val_duration_loss"] == pytest.approx(0.22)
    assert found.evidence["best"] == pytest.approx(0.155)
    assert found.evidence["duration_loss"] < found.evidence["duration_loss_then"]
    assert diagnosed(RISING, [0.15] * 800) is None


def test_it_takes_a_rise_by_a_quarter_to_enter_and_by_a_tenth_to_stay() -> None:
    risen = [0.3, 0.2, 0.1, 0.1, 0.1, 0.12, 0.12, 0.12]
    assert diagnosed(risen, falling(0.3, 0.05, 800)) is None
    assert diagnosed(risen, falling(0.3, 0.05, 800), overfit_durations=500) is not None
    assert diagnosed([*risen[:7], 0.109], falling(0.3, 0.05, 800), overfit_durations=500) is None


def test_the_spectra_are_another_matter() -> None:
    view = make_view(
        {"val_duration_loss": every(100, RISING), "duration_loss": falling(0.3, 0.05, 800)}, make_facts(**FLOW)
    )
    assert DETECTORS["overfitting"](view) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("overfit_durations") == []
