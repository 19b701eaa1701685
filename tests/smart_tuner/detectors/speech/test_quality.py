"""Speech that has become worse than the run's own best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from smart_tuner.detectors.speech.quality import detect_quality_regressed
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.held_out import DistanceHistory
from tests.smart_tuner.histories import every, make_view

FALLING = [1.2, 1.0, 0.8, 0.65, 0.55, 0.5]


def diagnose(
    levels: Sequence[float], *, noise: float = 0.03, n_utterances: int = 12, formed: float = 0.9, active: bool = False
) -> Diagnosis | None:
    rng, distances = np.random.default_rng(0), DistanceHistory()
    spoken = rng.normal(0, 0.2, n_utterances)  # some utterances are always nearer to their recordings
    for number, level in enumerate(levels, start=1):
        values = level * np.exp(spoken + rng.normal(0, noise, n_utterances))
        distances.record(100 * number, {f"u{i}": float(value) for i, value in enumerate(values)})
    series = {"free_diagonality": every(100, [formed] * len(levels))}
    state = {"quality_regressed": 1} if active else {}
    return detect_quality_regressed(make_view(series, distances=distances, active=state))


def test_speech_that_is_a_fifth_worse_than_its_best_has_regressed() -> None:
    diagnosis = diagnose([*FALLING, 0.5, 0.5, 0.6, 0.6, 0.6])
    assert diagnosis is not None and diagnosis.severity == "warning"
    assert diagnosis.evidence["mel_distance"] == pytest.approx(0.6, rel=0.1)
    assert diagnosis.evidence["best"] == pytest.approx(0.5, rel=0.1)
    assert 600 <= diagnosis.since <= 900


def test_speech_that_is_a_twentieth_worse_has_not() -> None:
    assert diagnose([*FALLING, 0.5, 0.5, 0.525, 0.525, 0.525]) is None


def test_a_single_bad_evaluation_is_not_enough() -> None:
    assert diagnose([*FALLING, 0.5, 0.5, 0.5, 0.5, 0.9]) is None


def test_a_rise_within_the_noise_of_the_utterances_is_none() -> None:
    worse = [*FALLING, 0.5, 0.5, 0.58, 0.58, 0.58]
    assert diagnose(worse, n_utterances=5) is not None
    assert diagnose(worse, n_utterances=5, noise=0.5) is None


def test_distances_before_an_alignment_formed_are_no_best() -> None:
    assert diagnose([0.4, 0.4, 0.4, 0.9, 0.9, 0.9, 0.9], formed=0.1) is None


def test_it_ends_when_speech_is_almost_as_good_again() -> None:
    assert diagnose([*FALLING, 0.5, 0.5, 0.53, 0.53, 0.53], active=True) is not None
    assert diagnose([*FALLING, 0.5, 0.5, 0.505, 0.505, 0.505], active=True) is None


def test_too_few_utterances_say_nothing() -> None:
    assert diagnose([*FALLING, 0.5, 0.5, 0.9, 0.9, 0.9], n_utterances=3) is None


def test_distances_of_another_scale_are_judged_alike() -> None:
    worse = [*FALLING, 0.5, 0.5, 0.6, 0.6, 0.6]
    small, large = diagnose([value / 10 for value in worse]), diagnose([value * 10 for value in worse])
    assert small is not None and large is not None
    assert math.isclose(small.evidence["deviations"], large.evidence["deviations"])
