from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors.optimization.plateau import detect_plateau
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import every, make_facts, make_view

PEAK = make_facts().peak_learning_rate
FLAT = [5.0, 3.0, 2.0, 1.99, 2.0, 2.01, 1.99, 2.0]
ACTIVE: dict[str, Any] = {"active": {"plateau": 400}}


def diagnose(losses: Sequence[float | None], rate: float | None = PEAK, **changes: Any) -> Diagnosis | None:
    series = {"val_total_loss": every(100, losses), "learning_rate": {100 * len(losses): rate}}
    return detect_plateau(make_view(series, **({"phase": "alignment"} | changes)))


def test_a_constant_loss_above_its_target_is_a_plateau() -> None:
    diagnosis = diagnose(FLAT)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 800, 400)
    assert diagnosis.evidence == {"val_total_loss": 1.99, "before": 2.0, "evaluations": 5}


@pytest.mark.parametrize(("last", "is_flat"), [(1.97, False), (1.99, True), (2.09, True), (2.11, False)])
def test_a_gain_of_one_percent_and_a_rise_are_no_plateau(last: float, is_flat: bool) -> None:
    assert (diagnose([5.0, 3.0, 2.0, *([last] * 5)]) is not None) is is_flat


def test_it_ends_at_a_gain_of_two_percent() -> None:
    losses = [5.0, 3.0, 2.0, 2.0, 2.0, 2.0, 1.97, 1.97]
    assert diagnose(losses) is None
    assert diagnose(losses, **ACTIVE) is not None
    assert diagnose([*losses[:-1], 1.95], **ACTIVE) is None


def test_a_constant_loss_below_its_target_is_no_plateau() -> None:
    assert diagnose([5.0, 1.0, 1.0, *([1.0] * 5)]) is None
    assert diagnose([5.0, 1.01, 1.01, *([1.01] * 5)]) is not None
    assert diagnose([-1.0] * 10) is None


@pytest.mark.parametrize(("share", "is_plateau"), [(0.49, False), (0.5, True)])
def test_a_decayed_learning_rate_explains_a_constant_loss(share: float, is_plateau: bool) -> None:
    assert (diagnose(FLAT, share * PEAK) is not None) is is_plateau


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_where_the_plan_lowers_the_learning_rate_a_constant_loss_needs_no_help(share: float) -> None:
    """Seen with healthy voices on real speech: the rate was halved just before the plan did it, or beside it."""
    assert diagnose(FLAT, share * PEAK) is not None
    assert diagnose(FLAT, share * PEAK, facts=make_facts(decay_is_planned=True)) is None


def test_a_constant_loss_before_attention_forms_is_no_plateau() -> None:
    assert diagnose(FLAT, phase="pre_alignment") is None
    without_attention = make_facts(alignment_patience_steps=0)
    assert diagnose(FLAT, phase="pre_alignment", facts=without_attention) is not None


def test_missing_losses_are_no_plateau() -> None:
    assert diagnose([]) is None
    assert diagnose([None] * 10) is None
    assert diagnose(FLAT[-5:]) is None
    assert diagnose(FLAT, None) is None
    assert diagnose([5.0, None, 2.0, None, *([2.0] * 5)]) is not None
