from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors.optimization.plateau import detect_plateau
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import RunFacts
from tests.smart_tuner.detectors.optimization.stretching import LONG, is_stretched
from tests.smart_tuner.histories import every, make_facts, make_view

PLAN = make_facts(planned_steps=2000)
PEAK = PLAN.peak_learning_rate
FLAT = [5.0, 3.0, 2.0, 1.99, 2.0, 2.01, 1.99, 2.0]
ACTIVE: dict[str, Any] = {"active": {"plateau": 400}}


def diagnose(
    losses: Sequence[float | None], rate: float | None = PEAK, facts: RunFacts = PLAN, **changes: Any
) -> Diagnosis | None:
    n_steps = facts.steps_per_evaluation
    series = {"val_total_loss": every(n_steps, losses), "learning_rate": {n_steps * len(losses): rate}}
    return detect_plateau(make_view(series, facts, **({"phase": "alignment"} | changes)))


def test_a_loss_that_stands_still_after_a_fall_is_a_plateau() -> None:
    diagnosis = diagnose(FLAT)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 800, 400)
    assert diagnosis.evidence == {
        "val_total_loss": pytest.approx(1.99),
        "before": pytest.approx(2.0),
        "evaluations": 5,
    }


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("last", "is_flat"), [(1.97, False), (1.99, True), (2.09, True), (2.11, False)])
def test_a_gain_of_one_percent_and_a_rise_are_no_plateau(last: float, is_flat: bool, scale: float) -> None:
    losses = [scale * loss for loss in (5.0, 3.0, 2.0, *[last] * 5)]
    assert (diagnose(losses) is not None) is is_flat


def test_it_ends_at_a_gain_of_two_percent() -> None:
    losses = [5.0, 3.0, 2.0, 2.0, 2.0, 2.0, 1.97, 1.97]
    assert diagnose(losses) is None
    assert diagnose(losses, **ACTIVE) is not None
    assert diagnose([*losses[:-1], 1.95], **ACTIVE) is None


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("first", "is_plateau"), [(2.0, False), (2.19, False), (2.21, True)])
def test_the_loss_must_have_fallen_by_a_tenth_since_the_start(first: float, is_plateau: bool, scale: float) -> None:
    losses = [scale * loss for loss in (first, *[2.0] * 7)]
    assert (diagnose(losses) is not None) is is_plateau


def test_the_start_is_that_of_the_attempt() -> None:
    assert diagnose([5.0, 2.0, *[2.0] * 7]) is not None
    assert diagnose([5.0, 2.0, *[2.0] * 7], attempt_start=100) is None


@pytest.mark.parametrize(("planned_steps", "is_plateau"), [(6000, True), (6001, False)])
def test_it_lasts_a_tenth_of_the_plan(planned_steps: int, is_plateau: bool) -> None:
    diagnosis = diagnose([5.0, 2.0, *[2.0] * 6], facts=make_facts(planned_steps=planned_steps))
    assert (diagnosis is not None) is is_plateau
    assert diagnosis is None or (diagnosis.since, diagnosis.evidence["evaluations"]) == (300, 6)


@pytest.mark.parametrize(("planned_steps", "is_plateau"), [(1000, True), (999, False)])
def test_a_fifth_of_the_plan_must_be_left(planned_steps: int, is_plateau: bool) -> None:
    assert (diagnose(FLAT, facts=make_facts(planned_steps=planned_steps)) is not None) is is_plateau


@pytest.mark.parametrize(("last", "is_plateau"), [(1.97, False), (2.0, True)])
def test_a_plateau_of_a_run_ten_times_as_long_is_the_same(last: float, is_plateau: bool) -> None:
    losses = [5.0, 3.0, 2.0, *[last] * 6]
    short = diagnose(losses, facts=make_facts(planned_steps=6000))
    long = diagnose(losses, facts=make_facts(**(LONG | {"planned_steps": 60_000})))
    assert (short is not None) is is_plateau and is_stretched(long, short)


@pytest.mark.parametrize(("share", "is_plateau"), [(0.49, False), (0.5, True)])
def test_a_decayed_learning_rate_explains_a_constant_loss(share: float, is_plateau: bool) -> None:
    assert (diagnose(FLAT, share * PEAK) is not None) is is_plateau


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_where_the_plan_lowers_the_learning_rate_a_constant_loss_needs_no_help(share: float) -> None:
    """Seen with healthy voices on real speech: the rate was halved just before the plan did it, or beside it."""
    assert diagnose(FLAT, share * PEAK) is not None
    assert diagnose(FLAT, share * PEAK, facts=make_facts(planned_steps=2000, decay_is_planned=True)) is None


def test_a_constant_loss_before_attention_forms_is_no_plateau() -> None:
    assert diagnose(FLAT, phase="pre_alignment") is None
    without_attention = make_facts(planned_steps=2000, alignment_patience_steps=0)
    assert diagnose(FLAT, phase="pre_alignment", facts=without_attention) is not None


def test_missing_losses_are_no_plateau() -> None:
    assert diagnose([]) is None
    assert diagnose([None] * 10) is None
    assert diagnose(FLAT[-5:]) is None
    assert diagnose(FLAT, None) is None
    assert diagnose([5.0, None, 2.0, None, *([2.0] * 5)]) is not None
