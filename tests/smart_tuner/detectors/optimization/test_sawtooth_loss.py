from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from smart_tuner.detectors.optimization.sawtooth_loss import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import FLOW, false_alarms, make_facts, make_view

ACTIVE = {"sawtooth_loss": 40}


def saw(n_teeth: int, height: float, *, fall: float = 0.0, noise: float = 0.03, n: int = 200) -> list[float]:
    """Leaps, equally far apart, each forgotten within some twenty steps."""
    rng = np.random.default_rng(0)
    course = -fall * np.arange(n) / n + rng.normal(0, noise, n)
    for tooth in range(n_teeth):
        first = 10 + tooth * (n - 10) // n_teeth
        course[first:] += height * np.exp(-np.arange(n - first) / 8)
    return [float(value) for value in course]


def diagnosed(losses: Sequence[float | None], **changes: Any) -> Diagnosis | None:
    return detect(make_view({"nll_loss": losses}, make_facts(**FLOW), **changes))


def test_leaps_that_get_nowhere_are_a_saw() -> None:
    found = diagnosed(saw(5, 2.0))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("critical", 200, 11)
    assert found.evidence["teeth"] == 5 and found.evidence["height"] == pytest.approx(2.0, abs=0.3)


def test_what_came_before_a_remedy_is_forgotten_soon() -> None:
    facts = make_facts(**FLOW, steps_per_evaluation=20)
    cured = {"nll_loss": [*saw(5, 2.0), *saw(0, 0.0, n=40)]}
    assert detect(make_view(cured, facts)) is not None
    assert detect(make_view(cured, facts, active=ACTIVE)) is None


@pytest.mark.parametrize(("n_teeth", "is_sick", "stays_sick"), [(0, False, False), (3, False, True), (4, True, True)])
def test_it_takes_four_leaps_to_enter_and_none_to_leave(n_teeth: int, is_sick: bool, stays_sick: bool) -> None:
    assert (diagnosed(saw(n_teeth, 2.0)) is not None) is is_sick
    assert (diagnosed(saw(n_teeth, 2.0), active=ACTIVE) is not None) is stays_sick


def test_a_saw_that_falls_gets_somewhere() -> None:
    assert diagnosed(saw(5, 2.0, fall=1.0)) is None
    assert diagnosed(saw(5, 2.0, fall=0.1)) is not None


@pytest.mark.parametrize(("height", "noise"), [(0.2, 0.03), (0.8, 0.2)])
def test_small_leaps_and_those_of_a_noisy_loss_are_none(height: float, noise: float) -> None:
    assert diagnosed(saw(5, height, noise=noise)) is None


def test_huge_and_missing_values_are_borne() -> None:
    assert diagnosed(saw(5, 1e30)) is not None
    gaps: list[float | None] = list(saw(5, 2.0))
    gaps[20:30] = [None] * 10
    assert diagnosed(gaps) is not None
    assert diagnosed([None] * 200) is None
    assert diagnosed(saw(5, 2.0, n=59)) is None
    assert diagnosed(saw(5, 2.0, n=60)) is not None


def test_other_models_have_another_word_for_it() -> None:
    assert detect(make_view({"total_loss": [math.exp(value) for value in saw(5, 2.0)]})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("sawtooth_loss") == []
