from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import pytest

from smart_tuner.detectors.optimization.gradients import (
    detect_exploding_gradient,
    detect_nonfinite_step,
    detect_vanishing_gradient,
)
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.settings import QualityControl
from tests.smart_tuner.detectors.optimization.stretching import LONG, is_stretched, stretched
from tests.smart_tuner.histories import Values, falling, make_facts, make_view, noisy, on_series

USUAL_NORMS = noisy(4.0, 100, 0.5)
JUMPS = [400.0, 4.0, 500.0, 4.0, 600.0, 4.0, 700.0, 4.0, 800.0]
diagnose_explosion = on_series(detect_exploding_gradient)


def explodes(norms: Sequence[float], **changes: Any) -> bool:
    return diagnose_explosion({"gradient_norm": norms}, **changes) is not None


def test_five_norms_far_above_the_baseline_are_an_explosion() -> None:
    diagnosis = diagnose_explosion({"gradient_norm": [*USUAL_NORMS, *JUMPS]})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 109, 101)
    evidence = dict(diagnosis.evidence)
    assert evidence.pop("deviations") > 6 and evidence.pop("usual") == pytest.approx(4.0, rel=0.3)
    assert evidence == {"gradient_norm": pytest.approx(800.0), "steps": 5}


def test_up_to_four_jumps_are_no_explosion() -> None:
    assert not explodes([*USUAL_NORMS, 200.0])
    assert not explodes([*USUAL_NORMS, *JUMPS[:8]])


def test_two_norms_of_100_000_are_critical_at_once() -> None:
    diagnosis = diagnose_explosion({"gradient_norm": [*USUAL_NORMS, 1e5, 1e5]})
    assert diagnosis is not None and (diagnosis.severity, diagnosis.since) == ("critical", 101)


def test_there_is_no_explosion_without_a_baseline_of_ten_norms_before_the_last_ten() -> None:
    assert not explodes([1e5, 1e5])
    assert not explodes([*[4.0] * 17, 1e5, 1e5])
    assert explodes([*[4.0] * 18, 1e5, 1e5])


@pytest.mark.parametrize(("norm", "is_critical"), [(2990.0, False), (3010.0, True)])
def test_two_norms_above_300_times_the_limit_are_enough(norm: float, is_critical: bool) -> None:
    assert explodes([*[1.0] * 100, norm, 1.0, norm]) is is_critical


def test_a_single_norm_of_any_size_is_clipped_and_no_explosion() -> None:
    """Seen with a real voice in its 13th step from a base voice: 3,647 among norms of 7 to 92, with the usual loss."""
    assert not explodes([*USUAL_NORMS, 1e9])


def test_an_explosion_ends_when_fewer_than_two_recent_norms_are_extreme() -> None:
    norms, active = [*USUAL_NORMS, *JUMPS, *noisy(4.0, 10, 0.5)], {"exploding_gradient": 101}
    assert explodes(norms[:116], active=active)
    assert not explodes(norms[:116])
    assert not explodes(norms[:117], active=active)


@pytest.mark.parametrize("scale", [0.001, 0.1, 1.0, 10.0])
@pytest.mark.parametrize(("factor", "enters", "stays"), [(4.9, False, False), (9.9, False, True), (10.1, True, True)])
def test_norms_explode_by_the_factor_of_their_rise_alone(
    factor: float, enters: bool, stays: bool, scale: float
) -> None:
    norms = [*[scale] * 100, *[factor * scale] * 5]
    assert explodes(norms) is enters
    assert explodes(norms, active={"exploding_gradient": 101}) is stays


def test_the_settings_are_factors_of_the_usual_norm() -> None:
    quality, active = QualityControl(gradient_norm_threshold=20, gradient_norm_target=15), {"exploding_gradient": 101}
    for factor, enters, stays in ((14.9, False, False), (15.1, False, True), (19.9, False, True), (20.1, True, True)):
        norms = [*[0.01] * 100, *[0.01 * factor] * 5]
        assert explodes(norms, quality=quality) is enters
        assert explodes(norms, quality=quality, active=active) is stays


def test_the_baseline_does_not_move_during_an_explosion() -> None:
    norms = [*USUAL_NORMS, *noisy(800.0, 100, 0.5, seed=1)]
    assert explodes(norms, active={"exploding_gradient": 101})
    assert not explodes(norms)


def test_large_norms_in_the_first_steps_are_no_explosion() -> None:
    norms = falling(900.0, 4.0, 60, 0.5)
    assert not any(explodes(norms[:n]) for n in range(1, 61))


def test_a_noisy_baseline_allows_larger_norms() -> None:
    assert not explodes(noisy(4.0, 100, 1.0) + [150.0] * 5)
    assert explodes(noisy(4.0, 100, 0.2) + [150.0] * 5)


def test_missing_and_zero_norms_are_no_explosion() -> None:
    assert diagnose_explosion({}) is None
    assert diagnose_explosion({"gradient_norm": [None] * 30}) is None
    assert not explodes([0.0] * 50 + [20.0] * 9)
    gaps = [*USUAL_NORMS, None, 400.0, None, 500.0, None, 600.0, 700.0, None, 800.0, None]
    diagnosis = diagnose_explosion({"gradient_norm": gaps})
    assert diagnosis is not None and diagnosis.since == 102


@pytest.mark.parametrize(("n_jumps", "is_explosion"), [(8, False), (9, True)])
def test_an_explosion_ten_times_as_long_is_the_same(n_jumps: int, is_explosion: bool) -> None:
    norms = [*USUAL_NORMS, *JUMPS[:n_jumps]]
    short = diagnose_explosion({"gradient_norm": norms})
    long = diagnose_explosion({"gradient_norm": stretched(norms)}, make_facts(**LONG))
    assert (short is not None) is is_explosion and is_stretched(long, short)
    assert long is None or long.evidence["steps"] == 50


diagnose_vanishing = on_series(detect_vanishing_gradient)


def vanishes(norms: Sequence[float | None], **changes: Any) -> bool:
    return diagnose_vanishing({"gradient_norm": norms}, **changes) is not None


def test_norms_that_become_tiny_have_vanished() -> None:
    diagnosis = diagnose_vanishing({"gradient_norm": [*USUAL_NORMS, *noisy(1e-6, 20, 0.5)]})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 120, 101)
    assert diagnosis.evidence["gradient_norm"] < 1e-5
    assert diagnosis.evidence["usual"] == pytest.approx(4.0, rel=0.3)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(
    ("share", "enters", "stays"),
    [(9.9e-5, True, True), (1.1e-4, False, True), (2.9e-4, False, True), (3.1e-4, False, False)],
)
def test_norms_vanish_by_their_share_of_the_usual_one_alone(
    share: float, enters: bool, stays: bool, scale: float
) -> None:
    norms = [*[scale] * 100, *[share * scale] * 30]
    assert vanishes(norms) is enters
    assert vanishes(norms, active={"vanishing_gradient": 101}) is stays


def test_an_active_vanishing_began_at_its_first_diagnosis() -> None:
    diagnosis = diagnose_vanishing({"gradient_norm": [4.0] * 100 + [0.0] * 60}, active={"vanishing_gradient": 101})
    assert diagnosis is not None and diagnosis.since == 101


def test_norms_that_always_were_tiny_have_not_vanished_unless_they_are_zero() -> None:
    assert not vanishes(noisy(1e-6, 100, 0.5))
    assert vanishes([0.0] * 100)


def test_norms_before_a_restart_are_not_the_usual_ones() -> None:
    norms = [4.0] * 100 + [1e-6] * 30
    assert vanishes(norms)
    assert not vanishes(norms, attempt_start=100)


def test_norms_of_zero_have_vanished() -> None:
    assert vanishes([4.0] * 100 + [0.0] * 30)


def test_most_of_a_window_must_have_vanished() -> None:
    assert not vanishes([4.0] * 100 + [1e-6] * 15)
    assert vanishes([4.0] * 100 + [1e-6] * 16)


def test_vanishing_is_not_diagnosed_from_too_few_values() -> None:
    assert diagnose_vanishing({}) is None
    assert not vanishes([None] * 100)
    assert not vanishes([*[4.0] * 100, *[None] * 16, *[1e-6] * 14])
    assert vanishes([*[4.0] * 100, *[None] * 15, *[1e-6] * 15])


@pytest.mark.parametrize(("n_tiny", "is_vanishing"), [(15, False), (16, True)])
def test_a_gradient_that_vanishes_ten_times_as_slowly_is_the_same(n_tiny: int, is_vanishing: bool) -> None:
    norms = [*USUAL_NORMS, *[1e-6] * n_tiny]
    short = diagnose_vanishing({"gradient_norm": norms})
    long = diagnose_vanishing({"gradient_norm": stretched(norms)}, make_facts(**LONG))
    assert (short is not None) is is_vanishing and is_stretched(long, short)


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
