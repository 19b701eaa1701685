from __future__ import annotations

import numpy as np
import pytest

from smart_tuner.treatment.verdicts.paired_gain import MIN_UTTERANCES, measure_gain


def distances(shift: float, *, noise: float = 0.0, n: int = 32, seed: int = 0) -> dict[str, float]:
    """Distances of the same utterances, some easy, some difficult, moved by a factor."""
    ease = np.random.default_rng(99).normal(0, 0.5, n)
    own = np.random.default_rng(seed).normal(0, noise, n)
    return {f"u{i}": float(np.exp(ease[i] + own[i] + shift)) for i in range(n)}


def test_a_small_gain_of_all_utterances_is_found_among_large_differences_between_them() -> None:
    gain = measure_gain(distances(0.0), distances(-0.03, noise=0.02))
    assert gain is not None and gain.is_better and gain.mean == pytest.approx(0.03, abs=0.01)
    loss = measure_gain(distances(0.0), distances(0.03, noise=0.02))
    assert loss is not None and loss.is_worse and not loss.is_better


def test_noise_of_utterances_is_seldom_a_gain() -> None:
    gains = [measure_gain(distances(0.0), distances(0.0, noise=0.05, seed=seed)) for seed in range(200)]
    assert sum(gain.is_better or gain.is_worse for gain in gains if gain is not None) <= 0.1 * 200


def test_more_comparisons_need_more_evidence() -> None:
    control, treated = distances(0.0), distances(-0.015, noise=0.04, seed=3)
    one, six = measure_gain(control, treated), measure_gain(control, treated, n_comparisons=6)
    assert one is not None and six is not None and six.low < one.low and six.high > one.high


def test_only_utterances_that_both_have_count() -> None:
    control, treated = distances(0.0, n=8), distances(-0.1, n=8)
    del treated["u0"]
    treated["u1"] = 0.0  # no speech at all
    gain = measure_gain(control, treated | {"other": 5.0})
    assert gain is not None and gain.mean == pytest.approx(0.1)
    assert measure_gain(distances(0.0, n=MIN_UTTERANCES - 1), distances(0.0, n=8)) is None
