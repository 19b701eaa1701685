from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors.optimization.overfitting import detect
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import every, falling, false_alarms, make_facts, make_view, noisy

RISING = [3.0, 2.0, 1.6, 1.5, 1.55, 1.75, 1.85, 1.95]


def validated(losses: Sequence[float | None], training: Sequence[float | None], **changes: Any) -> Diagnosis | None:
    return detect(make_view({"val_mel_loss": every(100, losses), "mel_loss": training}, **changes))


LEARNING, STANDING = falling(3.0, 0.5, 800), [1.5] * 800


def test_held_out_loss_that_rises_while_training_loss_falls() -> None:
    found = validated(RISING, LEARNING)
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 800, 400)
    assert found.evidence["val_mel_loss"] == 1.95 and found.evidence["best"] == 1.55
    assert found.evidence["mel_loss"] < 0.95 * found.evidence["mel_loss_then"]


def test_when_training_does_not_fall_either_it_has_another_name() -> None:
    assert validated(RISING, STANDING) is None
    assert validated(RISING, falling(1.0, 3.0, 800)) is None


def test_it_takes_three_evaluations_above_the_best_by_a_tenth() -> None:
    assert validated(RISING[:6], LEARNING[:600]) is None
    assert validated([3.0, 2.0, 1.0, 1.0, 1.0, 1.11, 1.09, 1.11], LEARNING) is None
    assert validated([3.0, 2.0, 1.0, 1.0, 1.0, 1.11, 1.11, 1.11], LEARNING) is not None


def test_of_noisy_evaluations_most_of_five_suffice() -> None:
    assert validated([3.0, 2.0, 1.0, 1.0, 1.0, 1.2, 1.05, 1.2, 1.05, 1.2], falling(3.0, 0.5, 1000)) is not None
    assert validated([3.0, 2.0, 1.0, 1.0, 1.0, 1.2, 1.05, 1.05, 1.05, 1.2], falling(3.0, 0.5, 1000)) is None
    assert validated([3.0, 2.0, 1.0, 1.0, 1.0, 1.2, 1.05, 1.2], falling(3.0, 0.5, 800)) is None


def test_it_leaves_when_nearly_back_at_the_best() -> None:
    losses, active = [3.0, 2.0, 1.0, 1.0, 1.0, 1.05, 1.05, 1.05], {"overfitting": 300}
    assert validated(losses, LEARNING) is None
    assert validated(losses, LEARNING, active=active) is not None
    assert validated([*losses[:7], 1.02], LEARNING, active=active) is None


def test_one_lucky_evaluation_sets_no_mark() -> None:
    assert validated([2.0, 1.6, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5], LEARNING) is None


def test_noisy_evaluations_that_stand_still_are_none() -> None:
    found = [validated(noisy(1.5, 40, 0.03, seed), falling(3.0, 0.8, 2000), step=4000) for seed in range(20)]
    assert found == [None] * 20


@pytest.mark.parametrize("n_steps", [1000, 3000])
def test_it_is_seen_when_the_training_loss_at_the_best_is_no_longer_kept(n_steps: int) -> None:
    facts, losses = make_facts(steps_per_evaluation=n_steps), every(n_steps, RISING)
    training = dict(enumerate(falling(3.0, 0.2, 8 * n_steps, 0.05), start=1))
    found = detect(make_view({"val_mel_loss": losses, "mel_loss": training}, facts))
    assert found is not None and found.since == 4 * n_steps
    flat = {step: 1.5 for step in training}
    assert detect(make_view({"val_mel_loss": losses, "mel_loss": flat}, facts)) is None


def test_gaps_say_nothing() -> None:
    assert validated([], LEARNING) is None
    assert validated([None] * 8, LEARNING) is None
    assert validated(RISING, [None] * 800) is None
    assert validated([1.0, None, None, 1.5, None, None], LEARNING) is None
    assert validated(RISING, [*([None] * 790), *LEARNING[:10]]) is None
    assert validated([None if i == 1 else loss for i, loss in enumerate(RISING)], LEARNING) is not None


def test_a_log_likelihood_has_no_tenth_of_its_best() -> None:
    losses = [1.0, 0.0, -1.0, -1.2, -1.19, -1.21, -1.2, -1.2]
    assert validated(losses, [1 - step / 300 for step in range(800)]) is None
    assert validated([2.0, 1.6, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0], [-1 - step / 300 for step in range(800)]) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("overfitting") == []
