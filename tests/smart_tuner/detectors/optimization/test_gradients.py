from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest

from smart_tuner.detectors.optimization.gradients import (
    detect_exploding_gradient,
    detect_nonfinite_step,
    detect_vanishing_gradient,
)
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import Values, make_view, noisy, on_series

USUAL_NORMS = noisy(4.0, 100, 0.5)
JUMPS = [400.0, 4.0, 500.0, 4.0, 600.0, 4.0, 700.0, 4.0, 800.0]
diagnose_explosion = on_series(detect_exploding_gradient)


def test_five_norms_far_above_the_baseline_are_an_explosion() -> None:
    diagnosis = diagnose_explosion({"gradient_norm": [*USUAL_NORMS, *JUMPS]})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 109, 101)
    evidence = dict(diagnosis.evidence)
    assert evidence.pop("deviations") > 6
    assert evidence == {"gradient_norm": 800.0, "steps": 5, "threshold": 10.0}


def test_up_to_four_jumps_are_no_explosion() -> None:
    assert diagnose_explosion({"gradient_norm": [*USUAL_NORMS, 200.0]}) is None
    assert diagnose_explosion({"gradient_norm": [*USUAL_NORMS, *JUMPS[:8]]}) is None


def test_two_norms_of_100_000_are_critical_at_once_even_without_a_baseline() -> None:
    diagnosis = diagnose_explosion({"gradient_norm": [*USUAL_NORMS, 1e5, 1e5]})
    assert diagnosis is not None and (diagnosis.severity, diagnosis.since) == ("critical", 101)
    diagnosis = diagnose_explosion({"gradient_norm": [1e5, 1e5]})
    assert diagnosis is not None and diagnosis.severity == "critical" and "deviations" not in diagnosis.evidence


@pytest.mark.parametrize(("norm", "explodes"), [(3000.0, False), (3001.0, True)])
def test_two_norms_above_300_times_the_threshold_are_enough(norm: float, explodes: bool) -> None:
    assert (diagnose_explosion({"gradient_norm": [*USUAL_NORMS, norm, 4.0, norm]}) is not None) is explodes


def test_a_single_norm_of_any_size_is_clipped_and_no_explosion() -> None:
    """Seen with a real voice in its 13th step from a base voice: 3,647 among norms of 7 to 92, with the usual loss."""
    assert diagnose_explosion({"gradient_norm": [*USUAL_NORMS, 1e9]}) is None


def test_an_explosion_ends_when_fewer_than_two_recent_norms_are_extreme() -> None:
    norms, active = [*USUAL_NORMS, *JUMPS, *noisy(4.0, 10, 0.5)], {"exploding_gradient": 101}
    assert diagnose_explosion({"gradient_norm": norms[:116]}, active=active) is not None
    assert diagnose_explosion({"gradient_norm": norms[:116]}) is None
    assert diagnose_explosion({"gradient_norm": norms[:117]}, active=active) is None


def test_norms_below_the_threshold_are_no_explosion() -> None:
    assert diagnose_explosion({"gradient_norm": [0.01] * 100 + [10.0] * 5}) is None
    assert diagnose_explosion({"gradient_norm": [0.01] * 100 + [10.1] * 5}) is not None


def test_large_norms_in_the_first_steps_are_no_explosion() -> None:
    assert diagnose_explosion({"gradient_norm": [900.0, 400.0, 300.0, 80.0, 60.0, 40.0, 30.0]}) is None


def test_a_noisy_baseline_allows_larger_norms() -> None:
    assert diagnose_explosion({"gradient_norm": noisy(4.0, 100, 1.0) + [150.0] * 5}) is None
    assert diagnose_explosion({"gradient_norm": noisy(4.0, 100, 0.2) + [150.0] * 5}) is not None


def test_missing_and_zero_norms_are_no_explosion() -> None:
    assert diagnose_explosion({}) is None
    assert diagnose_explosion({"gradient_norm": [None] * 30}) is None
    assert diagnose_explosion({"gradient_norm": [0.0] * 50 + [20.0] * 9}) is None
    gaps = [*USUAL_NORMS, None, 400.0, None, 500.0, None, 600.0, 700.0, None, 800.0, None]
    diagnosis = diagnose_explosion({"gradient_norm": gaps})
    assert diagnosis is not None and diagnosis.since == 102


HIGH_LOSSES = noisy(5.0, 100)
diagnose_vanishing = on_series(detect_vanishing_gradient)


def test_tiny_norms_with_a_high_loss_have_vanished() -> None:
    norms = noisy(4.0, 40, 0.5) + noisy(1e-6, 60, 0.5)
    diagnosis = diagnose_vanishing({"gradient_norm": norms, "total_loss": HIGH_LOSSES})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 100, 41)
    assert diagnosis.evidence["gradient_norm"] < 1e-5 and diagnosis.evidence["limit"] == pytest.approx(1e-4)


@pytest.mark.parametrize(("norm", "enters", "stays"), [(9e-5, True, True), (1.1e-4, False, True), (4e-4, False, False)])
def test_vanished_norms_must_rise_above_the_entry_limit_to_recover(norm: float, enters: bool, stays: bool) -> None:
    series = {"gradient_norm": [norm] * 100, "total_loss": HIGH_LOSSES}
    assert (diagnose_vanishing(series) is not None) is enters
    assert (diagnose_vanishing(series, active={"vanishing_gradient": 1}) is not None) is stays


def test_tiny_norms_at_the_loss_target_have_not_vanished() -> None:
    for losses in ([1.0] * 100, [0.01] * 100, [-3.0] * 100):
        assert diagnose_vanishing({"gradient_norm": [1e-6] * 100, "total_loss": losses}) is None


def test_norms_of_zero_have_vanished() -> None:
    assert diagnose_vanishing({"gradient_norm": [0.0] * 100, "total_loss": HIGH_LOSSES}) is not None


def test_vanishing_is_not_diagnosed_from_too_few_values() -> None:
    assert diagnose_vanishing({}) is None
    assert diagnose_vanishing({"gradient_norm": [1e-6] * 49, "total_loss": HIGH_LOSSES[:49]}) is None
    assert diagnose_vanishing({"gradient_norm": [1e-6] * 50, "total_loss": HIGH_LOSSES[:50]}) is not None
    assert diagnose_vanishing({"gradient_norm": [1e-6] * 100, "total_loss": [None] * 100}) is None
    assert diagnose_vanishing({"gradient_norm": [None] * 100, "total_loss": HIGH_LOSSES}) is None


def diagnose_nonfinite(
    steps: int, is_nonfinite: Callable[[int], bool], attempt_start: int = 0, before: float = 0.0
) -> Diagnosis | None:
    numbers = range(attempt_start + 1, attempt_start + steps + 1)
    counts = accumulate((float(is_nonfinite(step - attempt_start)) for step in numbers), initial=before)
    series: dict[str, Values] = {
        "nonfinite_steps": dict(zip(numbers, list(counts)[1:], strict=True)),
        "total_loss": {step: None if is_nonfinite(step - attempt_start) else 2.0 for step in numbers},
    }
    return detect_nonfinite_step(make_view(series, attempt_start=attempt_start))


def test_every_third_step_not_finite_is_a_warning() -> None:
    diagnosis = diagnose_nonfinite(60, lambda step: step > 50 and step % 3 == 0)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 60, 51)
    assert diagnosis.evidence == {"nonfinite_steps": 4, "of_the_last": 20, "were": 4}


@pytest.mark.parametrize(
    ("n_nonfinite", "severity"), [(1, "notice"), (2, "notice"), (3, "warning"), (9, "warning"), (10, "critical")]
)
def test_the_number_of_nonfinite_steps_determines_the_severity(n_nonfinite: int, severity: str) -> None:
    diagnosis = diagnose_nonfinite(100, lambda step: step > 100 - n_nonfinite)
    assert diagnosis is not None and (diagnosis.severity, diagnosis.since) == (severity, 101 - n_nonfinite)


def test_twenty_finite_steps_end_it() -> None:
    assert diagnose_nonfinite(79, lambda step: step == 60) is not None
    assert diagnose_nonfinite(80, lambda step: step == 60) is None


def test_rare_overflows_of_float16_are_notices() -> None:
    for steps in range(60, 700, 7):
        diagnosis = diagnose_nonfinite(steps, lambda step: step % 200 == 50)
        assert diagnosis is None or diagnosis.severity == "notice"


@pytest.mark.parametrize("attempt_start", [0, 500])
def test_the_search_for_a_loss_scale_in_the_first_steps_is_ignored(attempt_start: int) -> None:
    for steps in range(1, 40):
        assert diagnose_nonfinite(steps, lambda step: step <= 9, attempt_start, before=7.0) is None


def test_a_run_that_is_never_finite_is_critical_after_twelve_steps() -> None:
    assert diagnose_nonfinite(10, lambda step: True) is None
    diagnosis = diagnose_nonfinite(12, lambda step: True)
    assert diagnosis is not None and diagnosis.severity == "critical"


def test_nonfinite_steps_after_the_search_for_a_loss_scale_count() -> None:
    diagnosis = diagnose_nonfinite(20, lambda step: step <= 5 or step in (10, 13, 16))
    assert diagnosis is not None and (diagnosis.severity, diagnosis.since) == ("warning", 10)


def test_every_third_step_not_finite_from_the_start_is_a_warning() -> None:
    diagnosis = diagnose_nonfinite(12, lambda step: step % 3 == 1)
    assert diagnosis is not None and (diagnosis.severity, diagnosis.since) == ("warning", 4)


def test_missing_counts_of_nonfinite_steps_are_no_ailment() -> None:
    assert detect_nonfinite_step(make_view({})) is None
    assert detect_nonfinite_step(make_view({"nonfinite_steps": [5.0]})) is None
    assert detect_nonfinite_step(make_view({"nonfinite_steps": [None] * 30})) is None
    assert detect_nonfinite_step(make_view({"nonfinite_steps": [3.0] * 30})) is None
