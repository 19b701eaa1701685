from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors.optimization.plateau import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import every, false_alarms, make_facts, make_view

PEAK = make_facts().peak_learning_rate
FLAT = [5.0, 3.0, 2.0, 1.99, 2.0, 2.01, 1.99, 2.0]
ACTIVE: dict[str, Any] = {"active": {"plateau": 400}}


def validated(losses: Sequence[float | None], rate: float | None = PEAK, **changes: Any) -> Diagnosis | None:
    series = {"val_total_loss": every(100, losses), "learning_rate": {100 * len(losses): rate}}
    return detect(make_view(series, **({"phase": "alignment"} | changes)))


def test_a_loss_that_stands_still_above_its_target_is_found() -> None:
    found = validated(FLAT)
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 800, 400)
    assert found.evidence == {"val_total_loss": 1.99, "before": 2.0, "evaluations": 5}


@pytest.mark.parametrize(("last", "is_flat"), [(1.97, False), (1.99, True), (2.09, True), (2.11, False)])
def test_a_gain_of_a_hundredth_is_progress_and_rising_has_another_name(last: float, is_flat: bool) -> None:
    assert (validated([5.0, 3.0, 2.0, *([last] * 5)]) is not None) is is_flat


def test_it_leaves_at_a_gain_of_two_hundredths() -> None:
    losses = [5.0, 3.0, 2.0, 2.0, 2.0, 2.0, 1.97, 1.97]
    assert validated(losses) is None
    assert validated(losses, **ACTIVE) is not None
    assert validated([*losses[:-1], 1.95], **ACTIVE) is None


def test_below_the_target_all_is_well() -> None:
    assert validated([5.0, 1.0, 1.0, *([1.0] * 5)]) is None
    assert validated([5.0, 1.01, 1.01, *([1.01] * 5)]) is not None
    assert validated([-1.0] * 10) is None


@pytest.mark.parametrize(("share", "is_found"), [(0.49, False), (0.5, True)])
def test_a_learning_rate_that_has_decayed_explains_it(share: float, is_found: bool) -> None:
    assert (validated(FLAT, share * PEAK) is not None) is is_found


def test_standing_still_before_attention_forms_is_usual() -> None:
    assert validated(FLAT, phase="pre_alignment") is None
    without_attention = make_facts(alignment_patience_steps=0)
    assert validated(FLAT, phase="pre_alignment", facts=without_attention) is not None


def test_gaps_say_nothing() -> None:
    assert validated([]) is None
    assert validated([None] * 10) is None
    assert validated(FLAT[-5:]) is None
    assert validated(FLAT, None) is None
    assert validated([5.0, None, 2.0, None, *([2.0] * 5)]) is not None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("plateau") == []
