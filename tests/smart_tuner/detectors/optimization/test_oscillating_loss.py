from __future__ import annotations

import numpy as np
import pytest

from smart_tuner.detectors.optimization.oscillating_loss import detect
from tests.smart_tuner.histories import every, falling, false_alarms, make_facts, make_view, noisy

ACTIVE = {"oscillating_loss": 1}


def saw(swing: float, *, tooth: int = 16, n: int = 200, noise: float = 0.1, fall: float = 0.0) -> list[float]:
    """Up and down by so much of the loss, in its logarithm."""
    side = np.where(np.arange(n) // tooth % 2, 0.5, -0.5)
    rng = np.random.default_rng(0)
    return [float(v) for v in 4.0 * np.exp(swing * side + rng.normal(0, noise, n) - fall * np.arange(n) / n)]


def test_a_saw_is_found() -> None:
    found = detect(make_view({"total_loss": saw(0.6)}))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 200, 1)
    assert found.evidence["swing"] == pytest.approx(0.6, abs=0.1)
    assert found.evidence["turns_share"] == 1.0


def test_teeth_of_other_widths_are_found() -> None:
    for tooth in (13, 20, 24):
        assert detect(make_view({"total_loss": saw(1.0, tooth=tooth)})) is not None


@pytest.mark.parametrize(
    ("swing", "is_sick", "stays_sick"), [(0.1, False, False), (0.2, False, True), (0.3, True, True)]
)
def test_it_enters_at_a_quarter_of_the_loss_and_leaves_at_less(swing: float, is_sick: bool, stays_sick: bool) -> None:
    series = {"total_loss": saw(swing, noise=0.02)}
    assert (detect(make_view(series)) is not None) is is_sick
    assert (detect(make_view(series, active=ACTIVE)) is not None) is stays_sick


def test_a_saw_that_falls_gets_somewhere() -> None:
    assert detect(make_view({"total_loss": saw(0.5, fall=2.0)})) is None
    assert detect(make_view({"total_loss": saw(0.5, fall=0.2)})) is not None


def test_falling_rising_and_standing_are_no_oscillation() -> None:
    for losses in (falling(8.0, 1.0, 200), falling(1.0, 8.0, 200), noisy(3.0, 200), [3.0] * 200):
        assert detect(make_view({"total_loss": losses})) is None


@pytest.mark.parametrize("steps_per_evaluation", [20, 50, 100])
def test_the_noise_of_small_batches_is_no_oscillation(steps_per_evaluation: int) -> None:
    facts = make_facts(steps_per_evaluation=steps_per_evaluation)
    alarms = [
        seed
        for seed in range(30)
        if detect(make_view({"total_loss": noisy(3.0, 2 * steps_per_evaluation, 0.4, seed)}, facts))
    ]
    assert alarms == []


def test_too_few_points_say_nothing() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"total_loss": saw(1.0)[:149]})) is None
    assert detect(make_view({"total_loss": saw(1.0)[:152]})) is not None
    assert detect(make_view({"total_loss": every(2, saw(1.0))})) is None


def test_a_log_likelihood_around_zero_is_no_oscillation() -> None:
    losses: list[float] = [0.001 if step // 16 % 2 else 0.5 for step in range(199)]
    assert detect(make_view({"total_loss": [0.5, *losses]})) is not None
    assert detect(make_view({"total_loss": [-0.1, *losses]})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("oscillating_loss") == []
