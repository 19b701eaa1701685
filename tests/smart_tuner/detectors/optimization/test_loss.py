from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from smart_tuner.detectors.optimization.loss import (
    detect_loss_spike,
    detect_oscillating_loss,
    detect_sawtooth_loss,
)
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import RunFacts
from tests.smart_tuner.detectors.optimization.stretching import LONG, is_stretched, stretched
from tests.smart_tuner.histories import FLOW, every, falling, make_facts, make_view, noisy, on_series

FALLING = falling(5.0, 1.5, 120, 0.1)
ACTIVE_SPIKE = {"loss_spike": 121}
diagnose_spike = on_series(detect_loss_spike)


def raised(factor: float, n: int, spread: float = 0.1) -> list[float]:
    return noisy(factor * 1.85, n, spread, seed=1)


def test_four_losses_three_times_as_high_are_a_spike() -> None:
    assert diagnose_spike({"total_loss": FALLING + raised(3, 3)}) is None
    diagnosis = diagnose_spike({"total_loss": FALLING + raised(3, 4)})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("critical", 124, 121)
    assert diagnosis.evidence["total_loss"] == pytest.approx(5.5, rel=0.3)
    assert diagnosis.evidence["before"] == pytest.approx(1.9, rel=0.2)
    assert diagnosis.evidence["deviations"] > 5


@pytest.mark.parametrize("n_high", [1, 2, 3])
def test_up_to_three_high_losses_are_no_spike(n_high: int) -> None:
    assert diagnose_spike({"total_loss": FALLING + raised(20, n_high) + raised(1, 3)}) is None


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("factor", "is_spike"), [(1.49, False), (1.51, True)])
def test_a_quiet_loss_of_any_size_must_rise_by_half_for_a_spike(factor: float, is_spike: bool, scale: float) -> None:
    assert (diagnose_spike({"total_loss": [scale] * 50 + [factor * scale] * 6}) is not None) is is_spike


def test_a_noisy_loss_must_rise_further_for_a_spike() -> None:
    assert diagnose_spike({"total_loss": noisy(2.0, 100, 0.4) + [5.0] * 6}) is None
    assert diagnose_spike({"total_loss": noisy(2.0, 100, 0.1) + [5.0] * 6}) is not None


def test_a_spike_ends_when_the_loss_is_nearly_back() -> None:
    assert diagnose_spike({"total_loss": [2.0] * 50 + [2.6] * 6}) is None
    diagnosis = diagnose_spike({"total_loss": [2.0] * 71 + [2.4] * 6}, active={"loss_spike": 60})
    assert diagnosis is not None and diagnosis.since == 60
    assert diagnose_spike({"total_loss": [2.0] * 71 + [2.3] * 6}, active={"loss_spike": 60}) is None


def test_the_baseline_does_not_move_during_a_spike() -> None:
    assert diagnose_spike({"total_loss": FALLING + raised(3, 60)}, active=ACTIVE_SPIKE) is not None
    assert diagnose_spike({"total_loss": FALLING + raised(3, 60)}) is None


def test_a_larger_weight_of_another_loss_term_is_no_spike() -> None:
    total = [2.0] * 50 + [4.0] * 6
    assert diagnose_spike({"total_loss": total, "mel_loss": [1.0] * 56}) is None
    assert diagnose_spike({"total_loss": total, "mel_loss": [1.0] * 50 + [2.0] * 6}) is not None
    assert diagnose_spike({"total_loss": total, "mel_loss": [None] * 56}) is not None


def test_the_first_steps_have_no_baseline() -> None:
    assert diagnose_spike({"total_loss": [2.0] * 14 + [9.0] * 6}) is None
    assert diagnose_spike({"total_loss": [2.0] * 15 + [9.0] * 6}) is not None
    assert diagnose_spike({"total_loss": [2.0] * 50 + [9.0] * 6}, attempt_start=40) is None


def test_a_spike_is_seen_despite_missing_losses() -> None:
    assert diagnose_spike({}) is None
    assert diagnose_spike({"total_loss": [2.0] * 50 + [None, None, 9.0, None, None, 9.0]}) is None
    diagnosis = diagnose_spike({"total_loss": [2.0] * 50 + [None, 9.0, 9.0, None, None, 9.0]})
    assert diagnosis is not None and diagnosis.since == 52


def test_negative_losses_are_no_spike_unless_they_are_logarithms() -> None:
    around_zero = [0.01, -0.02, 0.01, -0.01, -0.02, 0.01] * 10
    assert diagnose_spike({"total_loss": [*around_zero, *([0.5] * 6)]}) is None
    assert diagnose_spike({"total_loss": [1 - step / 50 for step in range(100)]}) is None
    assert diagnose_spike({"total_loss": [-2.0] * 50 + [-1.0] * 6}) is None


@pytest.mark.parametrize(("n_high", "is_spike"), [(3, False), (4, True)])
def test_a_spike_ten_times_as_long_is_the_same(n_high: int, is_spike: bool) -> None:
    losses = FALLING + raised(3, n_high)
    short = diagnose_spike({"total_loss": losses})
    long = diagnose_spike({"total_loss": stretched(losses)}, make_facts(**LONG))
    assert (short is not None) is is_spike and is_stretched(long, short)


def test_steps_that_do_not_fill_a_stride_make_no_spike() -> None:
    losses, facts = stretched(FALLING + raised(3, 4)), make_facts(**LONG)
    assert diagnose_spike({"total_loss": losses}, facts) is not None
    assert diagnose_spike({"total_loss": losses[:-1]}, facts) is None


ACTIVE_OSCILLATION = {"oscillating_loss": 1}
diagnose_oscillation = on_series(detect_oscillating_loss)


def oscillating(
    swing: float, *, half_period: int = 5, n: int = 60, noise: float = 0.05, fall: float = 0.0
) -> list[float]:
    """Losses whose logarithm alternates between two levels `swing` apart, every `half_period` steps."""
    side = np.where(np.arange(n) // half_period % 2, 0.5, -0.5)
    rng = np.random.default_rng(0)
    return [float(v) for v in 4.0 * np.exp(swing * side + rng.normal(0, noise, n) - fall * np.arange(n) / n)]


def oscillates(losses: Sequence[float | None], **changes: Any) -> bool:
    return diagnose_oscillation({"total_loss": losses}, **changes) is not None


def test_a_loss_that_swings_up_and_down_oscillates() -> None:
    diagnosis = diagnose_oscillation({"total_loss": falling(5.0, 4.0, 60) + oscillating(0.6)})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 120, 61)
    assert diagnosis.evidence["swing"] == pytest.approx(0.6, abs=0.1)
    assert diagnosis.evidence["turns_share"] == 1.0


@pytest.mark.parametrize("half_period", [4, 6, 7])
def test_oscillations_of_other_periods_are_diagnosed(half_period: int) -> None:
    assert oscillates(oscillating(1.0, half_period=half_period))


@pytest.mark.parametrize("half_period", [20, 60])
def test_slow_changes_are_no_oscillation(half_period: int) -> None:
    assert not oscillates(oscillating(1.0, half_period=half_period))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("swing", "enters", "stays"), [(0.1, False, False), (0.2, False, True), (0.3, True, True)])
def test_an_oscillation_of_any_size_must_shrink_below_the_entry_limit_to_end(
    swing: float, enters: bool, stays: bool, scale: float
) -> None:
    losses = [scale * value for value in oscillating(swing, noise=0.02)]
    assert oscillates(losses) is enters
    assert oscillates(losses, active=ACTIVE_OSCILLATION) is stays


def test_a_swinging_loss_that_falls_does_not_oscillate() -> None:
    assert not oscillates(oscillating(0.5, fall=2.0))
    assert oscillates(oscillating(0.5, fall=0.2))


def test_falling_rising_and_constant_losses_do_not_oscillate() -> None:
    for losses in (falling(8.0, 1.0, 200), falling(1.0, 8.0, 200), noisy(3.0, 200), [3.0] * 200):
        assert not oscillates(losses)


@pytest.mark.parametrize(("facts", "n"), [(make_facts(), 60), (make_facts(**LONG), 600)])
def test_the_noise_of_small_batches_is_no_oscillation(facts: RunFacts, n: int) -> None:
    assert [seed for seed in range(30) if oscillates(noisy(3.0, n, 0.4, seed), facts=facts)] == []


def test_too_few_losses_are_no_oscillation() -> None:
    assert diagnose_oscillation({}) is None
    losses = oscillating(1.0, half_period=3, n=45)
    assert oscillates(losses)
    assert not oscillates(losses[:44])
    assert diagnose_oscillation({"total_loss": every(2, losses)}) is None


def test_negative_losses_do_not_oscillate_unless_they_are_logarithms() -> None:
    losses: list[float] = [0.001 if step // 5 % 2 else 0.5 for step in range(59)]
    assert oscillates([0.5, *losses])
    assert not oscillates([-0.1, *losses])


@pytest.mark.parametrize(("swing", "is_oscillation"), [(0.2, False), (0.3, True)])
def test_an_oscillation_ten_times_as_slow_is_the_same(swing: float, is_oscillation: bool) -> None:
    losses = oscillating(swing, noise=0.02)
    short = diagnose_oscillation({"total_loss": losses})
    long = diagnose_oscillation({"total_loss": stretched(losses)}, make_facts(**LONG))
    assert (short is not None) is is_oscillation and is_stretched(long, short)


ACTIVE_SAWTOOTH = {"sawtooth_loss": 40}


def sawtooth(n_jumps: int, height: float, *, fall: float = 0.0, noise: float = 0.03, n: int = 200) -> list[float]:
    """Jumps at equal distances, each of which decays within about twenty steps."""
    rng = np.random.default_rng(0)
    course = -fall * np.arange(n) / n + rng.normal(0, noise, n)
    for jump in range(n_jumps):
        first = 10 + jump * (n - 10) // n_jumps
        course[first:] += height * np.exp(-np.arange(n - first) / 8)
    return [float(value) for value in course]


def diagnose_sawtooth(losses: Sequence[float | None], **changes: Any) -> Diagnosis | None:
    return detect_sawtooth_loss(make_view({"nll_loss": losses}, make_facts(**FLOW), **changes))


def test_repeated_jumps_without_a_fall_are_a_sawtooth() -> None:
    diagnosis = diagnose_sawtooth(sawtooth(5, 2.0))
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("critical", 200, 11)
    assert diagnosis.evidence["teeth"] == 5 and diagnosis.evidence["height"] == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(("n_jumps", "stays"), [(0, False), (1, True)])
def test_only_jumps_in_the_last_two_windows_keep_a_sawtooth_active(n_jumps: int, stays: bool) -> None:
    losses = sawtooth(5, 2.0) + sawtooth(n_jumps, 2.0, n=60)
    assert (diagnose_sawtooth(losses, active=ACTIVE_SAWTOOTH) is not None) is stays


@pytest.mark.parametrize(("n_jumps", "enters", "stays"), [(0, False, False), (3, False, True), (4, True, True)])
def test_a_sawtooth_needs_four_jumps_to_enter_and_none_to_end(n_jumps: int, enters: bool, stays: bool) -> None:
    losses = sawtooth(n_jumps, 2.0, n=120)
    assert (diagnose_sawtooth(losses) is not None) is enters
    assert (diagnose_sawtooth(losses, active=ACTIVE_SAWTOOTH) is not None) is stays


def test_jumps_of_a_falling_loss_are_no_sawtooth() -> None:
    assert diagnose_sawtooth(sawtooth(5, 2.0, fall=1.0)) is None
    assert diagnose_sawtooth(sawtooth(5, 2.0, fall=0.1)) is not None


@pytest.mark.parametrize(("height", "noise"), [(0.2, 0.03), (0.8, 0.2)])
def test_small_jumps_and_noise_are_no_sawtooth(height: float, noise: float) -> None:
    assert diagnose_sawtooth(sawtooth(5, height, noise=noise)) is None


def test_a_sawtooth_is_seen_despite_huge_and_missing_values() -> None:
    assert diagnose_sawtooth(sawtooth(5, 1e30)) is not None
    gaps: list[float | None] = list(sawtooth(5, 2.0))
    gaps[20:30] = [None] * 10
    assert diagnose_sawtooth(gaps) is not None
    assert diagnose_sawtooth([None] * 200) is None
    assert diagnose_sawtooth(sawtooth(5, 2.0, n=59)) is None
    assert diagnose_sawtooth(sawtooth(5, 2.0, n=60)) is not None


@pytest.mark.parametrize("offset", [-math.log(10), math.log(10)])
@pytest.mark.parametrize(("height", "is_found"), [(0.2, False), (0.5, True)])
def test_a_sawtooth_of_ten_times_the_likelihood_is_the_same(height: float, is_found: bool, offset: float) -> None:
    losses = [offset + value for value in sawtooth(5, height)]
    assert (diagnose_sawtooth(losses) is not None) is is_found


@pytest.mark.parametrize(("n_jumps", "is_sawtooth"), [(3, False), (5, True)])
def test_a_sawtooth_ten_times_as_slow_is_the_same(n_jumps: int, is_sawtooth: bool) -> None:
    losses = sawtooth(n_jumps, 2.0)
    short = diagnose_sawtooth(losses)
    long = detect_sawtooth_loss(make_view({"nll_loss": stretched(losses)}, make_facts(**FLOW, **LONG)))
    assert (short is not None) is is_sawtooth and is_stretched(long, short)


def test_a_sawtooth_is_diagnosed_of_flows_only() -> None:
    assert detect_sawtooth_loss(make_view({"total_loss": [math.exp(value) for value in sawtooth(5, 2.0)]})) is None
