from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors import DETECTORS
from smart_tuner.detectors.speech.durations import detect_collapsed_durations, detect_overfit_durations
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import FLOW, Values, every, falling, make_facts, make_view

HEALTHY = (0.2, 0.0, 1.0)
ACTIVE_COLLAPSE = {"collapsed_durations": 200}


def diagnose_collapse(*evaluations: Sequence[float | None], **changes: Any) -> Diagnosis | None:
    """From evaluations of (share of zero durations, share of huge ones, length ratio)."""
    names = ("zero_duration_share", "huge_duration_share", "length_ratio")
    series = {name: every(100, [values[i] for values in evaluations]) for i, name in enumerate(names)}
    return detect_collapsed_durations(make_view(series, make_facts(**FLOW, warmup_steps=150), **changes))


@pytest.mark.parametrize("sick", [(0.6, 0.0, 1.0), (0.2, 0.05, 1.0), (0.2, 0.0, 0.49), (0.2, 0.0, 2.1)])
def test_three_evaluations_with_unusable_durations_are_a_collapse(sick: tuple[float, float, float]) -> None:
    diagnosis = diagnose_collapse(HEALTHY, sick, sick, sick)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 400, 200)
    assert diagnosis.evidence == dict(
        zip(("zero_duration_share", "huge_duration_share", "length_ratio"), sick, strict=True)
    )
    assert diagnose_collapse(sick, sick) is None
    assert diagnose_collapse(sick, HEALTHY, sick) is None
    assert diagnose_collapse(sick, sick, sick, step=149) is None


@pytest.mark.parametrize("nearly", [(0.59, 0.049, 0.5), (0.59, 0.049, 2.0)])
def test_moderately_short_or_long_durations_are_no_collapse(nearly: tuple[float, float, float]) -> None:
    assert diagnose_collapse(nearly, nearly, nearly) is None


@pytest.mark.parametrize(
    ("latest", "stays"), [((0.5, 0.0, 1.0), True), ((0.2, 0.02, 1.0), True), ((0.49, 0.019, 1.0), False)]
)
def test_a_collapse_must_improve_beyond_its_limits_to_end(latest: tuple[float, float, float], stays: bool) -> None:
    sick = (0.8, 0.0, 0.3)
    assert (diagnose_collapse(sick, sick, sick, latest, active=ACTIVE_COLLAPSE) is not None) is stays


def test_durations_that_still_improve_are_no_collapse() -> None:
    sick: dict[str, Values] = {
        "zero_duration_share": every(100, [1.0] * 3),
        "huge_duration_share": every(100, [0.0] * 3),
        "length_ratio": every(100, [0.2, 0.3, 0.4]),
    }
    for losses, is_collapse in (([1.3, 0.8, 0.5], False), ([1.3, 1.25, 1.25], True), ([0.5, 0.8, 1.3], True)):
        series = sick | {"val_duration_loss": every(100, losses)}
        assert (detect_collapsed_durations(make_view(series, make_facts(**FLOW))) is not None) is is_collapse


def test_evaluations_with_missing_shares_are_skipped() -> None:
    sick, gap = (0.8, 0.0, 1.0), (None, None, 1.0)
    diagnosis = diagnose_collapse(sick, sick, gap, sick)
    assert diagnosis is not None and diagnosis.since == 100 and diagnosis.evidence["zero_duration_share"] == 0.8
    short = (None, None, 0.3)
    assert diagnose_collapse(short, short, short, HEALTHY, HEALTHY, HEALTHY) is None


def test_unknown_shares_are_no_collapse() -> None:
    assert diagnose_collapse((None, None, 1.0), (None, None, 1.0), (None, None, 1.0)) is None
    assert detect_collapsed_durations(make_view({"length_ratio": every(100, [0.1] * 9)})) is None


RISING = [0.3, 0.2, 0.16, 0.15, 0.155, 0.2, 0.21, 0.22]


def diagnose_overfit(losses: Sequence[float], training: Sequence[float], **active: int) -> Diagnosis | None:
    series: dict[str, Values] = {"val_duration_loss": every(100, losses), "duration_loss": training}
    return detect_overfit_durations(make_view(series, make_facts(**FLOW), active=active))


def test_a_rising_held_out_duration_loss_with_a_falling_training_loss_is_overfit() -> None:
    diagnosis = diagnose_overfit(RISING, falling(0.3, 0.05, 800))
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 800, 400)
    assert diagnosis.evidence["val_duration_loss"] == pytest.approx(0.22)
    assert diagnosis.evidence["best"] == pytest.approx(0.155)
    assert diagnosis.evidence["duration_loss"] < diagnosis.evidence["duration_loss_then"]
    assert diagnose_overfit(RISING, [0.15] * 800) is None


def test_overfit_durations_enter_at_a_rise_of_a_quarter_and_stay_at_a_tenth() -> None:
    risen = [0.3, 0.2, 0.1, 0.1, 0.1, 0.12, 0.12, 0.12]
    assert diagnose_overfit(risen, falling(0.3, 0.05, 800)) is None
    assert diagnose_overfit(risen, falling(0.3, 0.05, 800), overfit_durations=500) is not None
    assert diagnose_overfit([*risen[:7], 0.109], falling(0.3, 0.05, 800), overfit_durations=500) is None


def test_overfit_durations_are_no_overfitting_of_the_spectrum() -> None:
    view = make_view(
        {"val_duration_loss": every(100, RISING), "duration_loss": falling(0.3, 0.05, 800)}, make_facts(**FLOW)
    )
    assert DETECTORS["overfitting"](view) is None
