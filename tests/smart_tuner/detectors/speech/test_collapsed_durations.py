from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors.speech.collapsed_durations import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import FLOW, Values, every, false_alarms, make_facts, make_view

HEALTHY = (0.2, 0.0, 1.0)
ACTIVE = {"collapsed_durations": 200}


def diagnosed(*evaluations: Sequence[float | None], **changes: Any) -> Diagnosis | None:
    """Each is a share without time, a share of far too long ones, and a length beside that of the recordings."""
    names = ("zero_duration_share", "huge_duration_share", "length_ratio")
    series = {name: every(100, [told[i] for told in evaluations]) for i, name in enumerate(names)}
    return detect(make_view(series, make_facts(**FLOW, warmup_steps=150), **changes))


@pytest.mark.parametrize("sick", [(0.6, 0.0, 1.0), (0.2, 0.05, 1.0), (0.2, 0.0, 0.49), (0.2, 0.0, 2.1)])
def test_three_evaluations_with_hardly_any_or_far_too_much_time(sick: tuple[float, float, float]) -> None:
    found = diagnosed(HEALTHY, sick, sick, sick)
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 400, 200)
    assert found.evidence == dict(
        zip(("zero_duration_share", "huge_duration_share", "length_ratio"), sick, strict=True)
    )
    assert diagnosed(sick, sick) is None
    assert diagnosed(sick, HEALTHY, sick) is None
    assert diagnosed(sick, sick, sick, step=149) is None


@pytest.mark.parametrize("nearly", [(0.59, 0.049, 0.5), (0.59, 0.049, 2.0)])
def test_what_is_short_or_long_but_can_be_followed_is_none(nearly: tuple[float, float, float]) -> None:
    assert diagnosed(nearly, nearly, nearly) is None


@pytest.mark.parametrize(
    ("latest", "stays"), [((0.5, 0.0, 1.0), True), ((0.2, 0.02, 1.0), True), ((0.49, 0.019, 1.0), False)]
)
def test_it_leaves_at_less(latest: tuple[float, float, float], stays: bool) -> None:
    sick = (0.8, 0.0, 0.3)
    assert (diagnosed(sick, sick, sick, latest, active=ACTIVE) is not None) is stays


def test_durations_that_are_being_learnt_are_given_time() -> None:
    sick: dict[str, Values] = {
        "zero_duration_share": every(100, [1.0] * 3),
        "huge_duration_share": every(100, [0.0] * 3),
        "length_ratio": every(100, [0.2, 0.3, 0.4]),
    }
    for losses, is_sick in (([1.3, 0.8, 0.5], False), ([1.3, 1.25, 1.25], True), ([0.5, 0.8, 1.3], True)):
        told = sick | {"val_duration_loss": every(100, losses)}
        assert (detect(make_view(told, make_facts(**FLOW))) is not None) is is_sick


def test_an_evaluation_without_an_answer_moves_no_other() -> None:
    sick, gap = (0.8, 0.0, 1.0), (None, None, 1.0)
    found = diagnosed(sick, sick, gap, sick)
    assert found is not None and found.since == 100 and found.evidence["zero_duration_share"] == 0.8
    short = (None, None, 0.3)
    assert diagnosed(short, short, short, HEALTHY, HEALTHY, HEALTHY) is None


def test_what_is_not_known_is_no_collapse() -> None:
    assert diagnosed((None, None, 1.0), (None, None, 1.0), (None, None, 1.0)) is None
    assert detect(make_view({"length_ratio": every(100, [0.1] * 9)})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("collapsed_durations") == []
