from __future__ import annotations

import pytest

from smart_tuner.detectors.speech.flow import detect_exploding_flow
from tests.smart_tuner.histories import FLOW, Values, every, make_facts, noisy, on_series

FACTS = make_facts(**FLOW)
ACTIVE = {"exploding_flow": 150}
MEASUREMENTS = 30  # of a part's gradient, one every ten steps
diagnose_flow = on_series(detect_exploding_flow)


def rising(low: float, high: float, n_steps: int = 200) -> list[float]:
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
    series: dict[str, Values] = {"logdet": rising(1.0, 2.5), "nll_loss": [0.0] * 200}
    diagnosis = diagnose_flow(series, FACTS)
    assert diagnosis is not None
    assert diagnosis.evidence == {"logdet": pytest.approx(2.4, abs=0.05), "before": 1.0}
    assert (diagnosis.since, diagnosis.step) == (191, 200)
    assert diagnose_flow(series | {"logdet": rising(1.0, -0.5)}, FACTS) is not None


def test_a_shifted_determinant_with_better_likelihood_is_learning() -> None:
    assert diagnose_flow({"logdet": rising(1.0, 2.5), "nll_loss": rising(0.0, -1.0)}, FACTS) is None
    assert diagnose_flow({"logdet": rising(1.0, 2.5), "nll_loss": rising(0.0, -0.5)}, FACTS) is not None
    assert diagnose_flow({"logdet": rising(1.0, 1.9), "nll_loss": [0.0] * 200}, FACTS) is None


def test_it_ends_when_the_determinant_is_half_way_back() -> None:
    back: dict[str, Values] = {"logdet": rising(1.0, 1.8), "nll_loss": [0.0] * 200}
    assert diagnose_flow(back, FACTS, active=ACTIVE) is not None
    assert diagnose_flow(back | {"logdet": rising(1.0, 1.4)}, FACTS, active=ACTIVE) is None


def test_a_part_with_a_gradient_far_above_its_baseline_is_named() -> None:
    calm = noisy(0.5, MEASUREMENTS, 0.3)
    for extreme, is_explosion in (([60.0] * 3, True), ([60.0, 60.0, 9.0], False), ([60.0, 1.0, 60.0], False)):
        diagnosis = diagnose_flow({"gradient_norm_flow_3": every(10, [*calm, *extreme])}, FACTS)
        assert (diagnosis is not None) is is_explosion
    diagnosis = diagnose_flow({"gradient_norm_flow_3": every(10, [*calm, 60.0, 70.0, 80.0])}, FACTS)
    assert diagnosis is not None and diagnosis.evidence == {"gradient_norm_flow_3": pytest.approx(60.0)}
    assert diagnose_flow({"gradient_norm": every(10, [*calm, *[60.0] * 3])}, FACTS) is None


def test_a_gradient_that_always_was_large_is_no_explosion() -> None:
    assert diagnose_flow({"gradient_norm_encoder": every(10, noisy(60.0, MEASUREMENTS, 0.3))}, FACTS) is None
    assert diagnose_flow({"gradient_norm_encoder": every(10, [0.1] * 5 + [60.0] * 3)}, FACTS) is None


def test_models_without_flow_signals_have_no_explosion() -> None:
    assert diagnose_flow({"total_loss": [1.0] * 200, "gradient_norm": [1e6] * 200}) is None
