from __future__ import annotations

import math

import pytest

from smart_tuner.detectors.speech.flow import detect_exploding_flow
from tests.smart_tuner.detectors.optimization.stretching import LONG, is_stretched, stretched
from tests.smart_tuner.histories import FLOW, Values, every, make_facts, noisy, on_series

FACTS, LONG_FACTS = make_facts(**FLOW), make_facts(**FLOW, **LONG)
ACTIVE = {"exploding_flow": 150}
MEASUREMENTS = 30  # of a part's gradient, one every ten steps
diagnose_flow = on_series(detect_exploding_flow)


def rising(low: float, high: float, n_steps: int = 60) -> list[float]:
    """Constant for the first half, then changing linearly."""
    return [low] * (n_steps // 2) + [low + (high - low) * i / (n_steps // 2) for i in range(1, n_steps // 2 + 1)]


@pytest.mark.parametrize(
    ("name", "healthy", "sick", "active"),
    [("convolution_condition", 900, 1100, 600), ("actnorm_scale", 9000, 11_000, 6000), ("latent_deviation", 9, 11, 6)],
)
def test_a_flow_that_is_hard_to_invert_has_exploded(name: str, healthy: float, sick: float, active: float) -> None:
    assert diagnose_flow({name: every(10, [1.0, healthy])}, FACTS) is None
    diagnosis = diagnose_flow({name: every(10, [1.0, sick])}, FACTS)
    assert diagnosis is not None and diagnosis.severity == "critical" and diagnosis.evidence == {name: sick}
    assert diagnose_flow({name: every(10, [1.0, active])}, FACTS) is None
    assert diagnose_flow({name: every(10, [1.0, active])}, FACTS, active=ACTIVE) is not None
    assert diagnose_flow({name: every(10, [None, None])}, FACTS) is None


def test_a_single_batch_is_no_explosion() -> None:
    assert diagnose_flow({"latent_deviation": [1.0] * 29 + [30.0]}, FACTS) is None
    assert diagnose_flow({"latent_deviation": [1.0] * 24 + [30.0] * 6}, FACTS) is not None


def test_a_shifted_determinant_without_better_likelihood_is_an_explosion() -> None:
    series: dict[str, Values] = {"logdet": rising(1.0, 2.5), "nll_loss": [0.0] * 60}
    diagnosis = diagnose_flow(series, FACTS)
    assert diagnosis is not None
    assert diagnosis.evidence == {"logdet": pytest.approx(2.275), "before": 1.0}
    assert (diagnosis.since, diagnosis.step) == (51, 60)
    assert diagnose_flow(series | {"logdet": rising(1.0, -0.5)}, FACTS) is not None


def test_a_shifted_determinant_with_better_likelihood_is_learning() -> None:
    assert diagnose_flow({"logdet": rising(1.0, 2.5), "nll_loss": rising(0.0, -1.0)}, FACTS) is None
    assert diagnose_flow({"logdet": rising(1.0, 2.5), "nll_loss": rising(0.0, -0.5)}, FACTS) is not None
    assert diagnose_flow({"logdet": rising(1.0, 1.9), "nll_loss": [0.0] * 60}, FACTS) is None


@pytest.mark.parametrize("offset", [-math.log(10), math.log(10)])
@pytest.mark.parametrize(("high", "is_explosion"), [(2.1, False), (2.3, True)])
def test_a_determinant_of_ten_times_the_size_explodes_by_the_same_shift(
    high: float, is_explosion: bool, offset: float
) -> None:
    series: dict[str, Values] = {"logdet": rising(1.0 + offset, high + offset), "nll_loss": [offset] * 60}
    assert (diagnose_flow(series, FACTS) is not None) is is_explosion


def test_it_ends_when_the_determinant_is_half_way_back() -> None:
    back: dict[str, Values] = {"logdet": rising(1.0, 1.8), "nll_loss": [0.0] * 60}
    assert diagnose_flow(back, FACTS, active=ACTIVE) is not None
    assert diagnose_flow(back | {"logdet": rising(1.0, 1.4)}, FACTS, active=ACTIVE) is None


def test_a_part_with_a_gradient_far_above_its_baseline_is_named() -> None:
    calm = noisy(0.5, MEASUREMENTS, 0.3)
    for extreme, is_explosion in (([60.0] * 3, True), ([60.0, 60.0, 4.0], False), ([60.0, 1.0, 60.0], False)):
        diagnosis = diagnose_flow({"gradient_norm_flow_3": every(10, [*calm, *extreme])}, FACTS)
        assert (diagnosis is not None) is is_explosion
    diagnosis = diagnose_flow({"gradient_norm_flow_3": every(10, [*calm, 60.0, 70.0, 80.0])}, FACTS)
    assert diagnosis is not None and diagnosis.evidence == {"gradient_norm_flow_3": pytest.approx(60.0)}
    assert diagnose_flow({"gradient_norm": every(10, [*calm, *[60.0] * 3])}, FACTS) is None


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize(("factor", "is_explosion"), [(9.9, False), (10.1, True)])
def test_a_parts_gradient_explodes_by_the_factor_of_its_rise_alone(
    factor: float, is_explosion: bool, scale: float
) -> None:
    norms = [*[scale] * MEASUREMENTS, *[factor * scale] * 3]
    assert (diagnose_flow({"gradient_norm_flow_3": every(10, norms)}, FACTS) is not None) is is_explosion


def test_a_gradient_that_always_was_large_is_no_explosion() -> None:
    assert diagnose_flow({"gradient_norm_encoder": every(10, noisy(60.0, MEASUREMENTS, 0.3))}, FACTS) is None
    assert diagnose_flow({"gradient_norm_encoder": every(10, [0.1] * 5 + [60.0] * 3)}, FACTS) is None


def test_models_without_flow_signals_have_no_explosion() -> None:
    assert diagnose_flow({"total_loss": [1.0] * 200, "gradient_norm": [1e6] * 200}) is None


@pytest.mark.parametrize(
    ("logdet", "is_explosion"),
    [
        (rising(1.0, 2.1), False),
        (rising(1.0, 2.3), True),
        ([1.0] * 10 + [2.5] * 50, False),
        ([1.0] * 25 + [2.5] * 35, True),
    ],
)
def test_a_determinant_that_shifts_ten_times_as_slowly_is_the_same(logdet: list[float], is_explosion: bool) -> None:
    short = diagnose_flow({"logdet": logdet, "nll_loss": [0.0] * 60}, FACTS)
    long = diagnose_flow({"logdet": stretched(logdet), "nll_loss": [0.0] * 600}, LONG_FACTS)
    assert (short is not None) is is_explosion and is_stretched(long, short)


@pytest.mark.parametrize(
    ("name", "calm", "extreme"),
    [("gradient_norm_flow_3", 0.5, 60.0), ("convolution_condition", 1.0, 2e3), ("actnorm_scale", 5.0, 2e4)],
)
@pytest.mark.parametrize("n_extreme", [0, 3])
def test_an_explosion_ten_times_as_slow_is_the_same(name: str, calm: float, extreme: float, n_extreme: int) -> None:
    values = [*[calm] * MEASUREMENTS, *[extreme] * n_extreme]
    short = diagnose_flow({name: every(10, values)}, FACTS)
    long = diagnose_flow({name: every(10, stretched(values))}, LONG_FACTS)
    assert (short is not None) is (n_extreme == 3) and is_stretched(long, short)


def test_a_few_batches_of_a_stride_are_no_explosion() -> None:
    assert diagnose_flow({"latent_deviation": [1.0] * 260 + [30.0] * 40}, LONG_FACTS) is None
    assert diagnose_flow({"latent_deviation": [1.0] * 240 + [30.0] * 60}, LONG_FACTS) is not None
