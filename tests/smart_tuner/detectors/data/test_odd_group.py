"""A group of recordings that stands apart from the others."""

from __future__ import annotations

from typing import Any

import pytest

from smart_tuner.detectors.data.odd_group import detect_odd_group
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import every, make_view

GROUP = ("a", "b", "c")


def diagnose(*, n: int = 2, active: bool = False, group: tuple[str, ...] = GROUP, **changes: float) -> Diagnosis | None:
    values = {"separation": 4.0, "overlap": 0.2, "share": 0.1, "excess": 0.5} | changes
    series: dict[str, Any] = {f"odd_group_{name}": every(100, [value] * n) for name, value in values.items()}
    return detect_odd_group(make_view(series, odd_utterances=group, active={"odd_group": 50} if active else {}))


def test_a_separate_group_in_two_evaluations_is_named() -> None:
    diagnosis = diagnose()
    assert diagnosis is not None and diagnosis.utterances == GROUP and diagnosis.since == 100
    assert diagnosis.evidence == {"utterances": 3.0, "share": 0.1, "separation": 4.0, "excess": 0.5}


@pytest.mark.parametrize("changes", [
    {"n": 1}, {"separation": 3.4}, {"overlap": 0.4}, {"share": 0.03}, {"excess": -0.9}, {"group": ()},
])  # fmt: skip
def test_tails_few_utterances_and_easy_ones_are_no_group(changes: dict[str, Any]) -> None:
    assert diagnose(**changes) is None


def test_utterances_that_are_easier_than_speech_can_be_are_a_group() -> None:
    assert diagnose(excess=-1.1) is not None


def test_it_ends_when_the_groups_come_near_each_other() -> None:
    assert diagnose(separation=3.2, active=True) is not None
    assert diagnose(separation=2.9, active=True) is None
