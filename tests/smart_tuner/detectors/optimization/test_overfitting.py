from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors.optimization.overfitting import detect_overfitting
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.detectors.optimization.stretching import LONG, is_stretched, stretched
from tests.smart_tuner.histories import Values, by_step, every, falling, make_facts, make_view, noisy

RISING = [3.0, 2.0, 1.6, 1.5, 1.55, 1.75, 1.85, 1.95]


def diagnose(losses: Sequence[float | None], training: Sequence[float | None], **changes: Any) -> Diagnosis | None:
    return detect_overfitting(make_view({"val_mel_loss": every(100, losses), "mel_loss": training}, **changes))


LEARNING, STANDING = falling(3.0, 0.5, 800), [1.5] * 800


def test_a_rising_held_out_loss_with_a_falling_training_loss_is_overfitting() -> None:
    diagnosis = diagnose(RISING, LEARNING)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 800, 400)
    assert diagnosis.evidence["val_mel_loss"] == 1.95 and diagnosis.evidence["best"] == 1.55
    assert diagnosis.evidence["mel_loss"] < 0.95 * diagnosis.evidence["mel_loss_then"]


def test_it_is_no_overfitting_if_the_training_loss_does_not_fall() -> None:
    assert diagnose(RISING, STANDING) is None
    assert diagnose(RISING, falling(1.0, 3.0, 800)) is None


def test_three_evaluations_a_tenth_above_the_best_are_needed() -> None:
    assert diagnose(RISING[:6], LEARNING[:600]) is None
    assert diagnose([3.0, 2.0, 1.0, 1.0, 1.0, 1.11, 1.09, 1.11], LEARNING) is None
    assert diagnose([3.0, 2.0, 1.0, 1.0, 1.0, 1.11, 1.11, 1.11], LEARNING) is not None


def test_most_of_five_noisy_evaluations_suffice() -> None:
    assert diagnose([3.0, 2.0, 1.0, 1.0, 1.0, 1.2, 1.05, 1.2, 1.05, 1.2], falling(3.0, 0.5, 1000)) is not None
    assert diagnose([3.0, 2.0, 1.0, 1.0, 1.0, 1.2, 1.05, 1.05, 1.05, 1.2], falling(3.0, 0.5, 1000)) is None
    assert diagnose([3.0, 2.0, 1.0, 1.0, 1.0, 1.2, 1.05, 1.2], falling(3.0, 0.5, 800)) is None


def test_it_ends_when_the_loss_is_nearly_back_at_its_best() -> None:
    losses, active = [3.0, 2.0, 1.0, 1.0, 1.0, 1.05, 1.05, 1.05], {"overfitting": 300}
    assert diagnose(losses, LEARNING) is None
    assert diagnose(losses, LEARNING, active=active) is not None
    assert diagnose([*losses[:7], 1.02], LEARNING, active=active) is None


def test_a_single_low_evaluation_is_not_the_best() -> None:
    assert diagnose([2.0, 1.6, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5], LEARNING) is None


def test_noise_around_a_constant_loss_is_no_overfitting() -> None:
    results = [diagnose(noisy(1.5, 40, 0.03, seed), falling(3.0, 0.8, 2000), step=4000) for seed in range(20)]
    assert results == [None] * 20


@pytest.mark.parametrize("n_steps", [1000, 3000])
def test_the_training_loss_at_the_best_is_known_from_the_few_older_points(n_steps: int) -> None:
    facts, losses = make_facts(steps_per_evaluation=n_steps, planned_steps=8 * n_steps), every(n_steps, RISING)
    training = dict(enumerate(falling(3.0, 0.2, 8 * n_steps, 0.05), start=1))
    view = make_view({"val_mel_loss": losses, "mel_loss": training}, facts)
    assert len(view.points("mel_loss")) < 8 * n_steps
    diagnosis = detect_overfitting(view)
    assert diagnosis is not None and diagnosis.since == 4 * n_steps
    flat = {step: 1.5 for step in training}
    assert detect_overfitting(make_view({"val_mel_loss": losses, "mel_loss": flat}, facts)) is None


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("last", "is_found"), [(1.69, False), (1.72, True)])
def test_losses_of_any_size_overfit_by_the_same_factor(last: float, is_found: bool, scale: float) -> None:
    losses = [scale * loss for loss in (*RISING[:5], *[last] * 3)]
    assert (diagnose(losses, [scale * loss for loss in LEARNING]) is not None) is is_found
    assert diagnose(losses, [scale * loss for loss in STANDING]) is None


@pytest.mark.parametrize(("fallen", "is_found"), [(0.96, False), (0.94, True)])
def test_the_training_loss_must_have_fallen_by_a_twentieth_since(fallen: float, is_found: bool) -> None:
    assert (diagnose(RISING, [1.0] * 770 + [fallen] * 30) is not None) is is_found


@pytest.mark.parametrize(("last", "is_found"), [(1.69, False), (1.72, True)])
def test_overfitting_ten_times_as_slowly_is_the_same(last: float, is_found: bool) -> None:
    losses = [*RISING[:5], *[last] * 3]
    short = diagnose(losses, LEARNING)
    series: dict[str, Values] = {"val_mel_loss": every(1000, losses), "mel_loss": stretched(LEARNING)}
    long = detect_overfitting(make_view(series, make_facts(**LONG)))
    assert (short is not None) is is_found and is_stretched(long, short)


def diagnose_with_speech(
    losses: Sequence[float], distances: Sequence[float | None], **changes: Any
) -> Diagnosis | None:
    speech = every(100, distances)
    training = falling(3.0, 0.5, 100 * len(losses))
    series = {"val_mel_loss": every(100, losses), "mel_loss": by_step(training), "mel_distance": speech}
    return detect_overfitting(make_view(series, **changes))


@pytest.mark.parametrize(
    ("distances", "is_found"),
    [
        ([1.2, 1.0, 0.9, 0.85, 0.83, 0.82, 0.81, 0.80], False),  # what the voice says by itself still improves
        ([1.2, 1.0, 0.9, 0.82, 0.81, 0.81, 0.815, 0.81], False),
        ([1.2, 1.0, 0.9, 0.8, 0.81, 0.80, 0.9, 0.95], True),
        ([1.2, 1.0, None, None, None, None, None, 0.8], True),  # too few to tell
    ],
)
def test_speech_must_have_got_worse_too_where_it_is_measured(distances: list[float | None], is_found: bool) -> None:
    assert (diagnose_with_speech(RISING, distances) is not None) == is_found


def test_overfitting_ends_when_speech_is_nearly_as_good_as_ever() -> None:
    distances = [1.2, 1.0, 0.9, 0.8, 0.8, 0.8, 0.806, 0.806, 0.806, 0.806]
    losses = [*RISING, 1.95, 1.95]
    assert diagnose_with_speech(losses, distances) is None
    assert diagnose_with_speech(losses, distances, active={"overfitting": 300}) is not None


def test_missing_losses_are_no_overfitting() -> None:
    assert diagnose([], LEARNING) is None
    assert diagnose([None] * 8, LEARNING) is None
    assert diagnose(RISING, [None] * 800) is None
    assert diagnose([1.0, None, None, 1.5, None, None], LEARNING) is None
    assert diagnose(RISING, [*([None] * 790), *LEARNING[:10]]) is None
    assert diagnose([None if i == 1 else loss for i, loss in enumerate(RISING)], LEARNING) is not None


def test_negative_losses_are_no_overfitting_unless_they_are_logarithms() -> None:
    losses = [1.0, 0.0, -1.0, -1.2, -1.19, -1.21, -1.2, -1.2]
    assert diagnose(losses, [1 - step / 300 for step in range(800)]) is None
    assert diagnose([2.0, 1.6, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0], [-1 - step / 300 for step in range(800)]) is None
