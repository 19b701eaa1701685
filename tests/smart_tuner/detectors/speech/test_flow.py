from __future__ import annotations

import pytest

from smart_tuner.detectors.speech.flow import detect
from tests.smart_tuner.histories import FLOW, Values, every, false_alarms, make_facts, make_view, noisy

FACTS = make_facts(**FLOW)
ACTIVE = {"exploding_flow": 150}
TENS = 30  # measurements, one every ten steps


def rising(low: float, high: float, n_steps: int = 200) -> list[float]:
    """Still for half of the time, then on its way."""
    return [low] * (n_steps // 2) + [low + (high - low) * i / (n_steps // 2) for i in range(1, n_steps // 2 + 1)]


@pytest.mark.parametrize(
    ("name", "healthy", "sick", "active"),
    [("convolution_condition", 900, 1100, 600), ("actnorm_scale", 9000, 11_000, 6000), ("latent_deviation", 9, 11, 6)],
)
def test_what_can_hardly_be_inverted_has_exploded(name: str, healthy: float, sick: float, active: float) -> None:
    assert detect(make_view({name: every(10, [1.0, healthy])}, FACTS)) is None
    found = detect(make_view({name: every(10, [1.0, sick])}, FACTS))
    assert found is not None and found.severity == "critical" and found.evidence == {name: sick}
    assert detect(make_view({name: every(10, [1.0, active])}, FACTS)) is None
    assert detect(make_view({name: every(10, [1.0, active])}, FACTS, active=ACTIVE)) is not None
    assert detect(make_view({name: every(10, [None, None])}, FACTS)) is None


def test_one_odd_batch_is_no_explosion() -> None:
    assert detect(make_view({"latent_deviation": [1.0] * 29 + [30.0]}, FACTS)) is None
    assert detect(make_view({"latent_deviation": [1.0] * 24 + [30.0] * 6}, FACTS)) is not None


def test_a_determinant_that_runs_away_without_the_likelihood_has_exploded() -> None:
    series: dict[str, Values] = {"logdet": rising(1.0, 2.5), "nll_loss": [0.0] * 200}
    found = detect(make_view(series, FACTS))
    assert found is not None
    assert found.evidence == {"logdet": pytest.approx(2.4, abs=0.05), "before": 1.0}
    assert (found.since, found.step) == (191, 200)
    assert detect(make_view(series | {"logdet": rising(1.0, -0.5)}, FACTS)) is not None


def test_one_that_makes_the_recordings_likelier_is_learning() -> None:
    assert detect(make_view({"logdet": rising(1.0, 2.5), "nll_loss": rising(0.0, -1.0)}, FACTS)) is None
    assert detect(make_view({"logdet": rising(1.0, 2.5), "nll_loss": rising(0.0, -0.5)}, FACTS)) is not None
    assert detect(make_view({"logdet": rising(1.0, 1.9), "nll_loss": [0.0] * 200}, FACTS)) is None


def test_it_leaves_when_the_determinant_is_half_way_back() -> None:
    back: dict[str, Values] = {"logdet": rising(1.0, 1.8), "nll_loss": [0.0] * 200}
    assert detect(make_view(back, FACTS, active=ACTIVE)) is not None
    assert detect(make_view(back | {"logdet": rising(1.0, 1.4)}, FACTS, active=ACTIVE)) is None


def test_a_part_whose_gradient_is_far_above_its_habit_is_named() -> None:
    calm = noisy(0.5, TENS, 0.3)
    for extreme, is_sick in (([60.0] * 3, True), ([60.0, 60.0, 9.0], False), ([60.0, 1.0, 60.0], False)):
        found = detect(make_view({"gradient_norm_flow_3": every(10, [*calm, *extreme])}, FACTS))
        assert (found is not None) is is_sick
    found = detect(make_view({"gradient_norm_flow_3": every(10, [*calm, 60.0, 70.0, 80.0])}, FACTS))
    assert found is not None and found.evidence == {"gradient_norm_flow_3": pytest.approx(60.0)}
    assert detect(make_view({"gradient_norm": every(10, [*calm, *[60.0] * 3])}, FACTS)) is None


def test_a_gradient_that_always_was_large_is_a_habit() -> None:
    assert detect(make_view({"gradient_norm_encoder": every(10, noisy(60.0, TENS, 0.3))}, FACTS)) is None
    assert detect(make_view({"gradient_norm_encoder": every(10, [0.1] * 5 + [60.0] * 3)}, FACTS)) is None


def test_other_models_have_no_flow() -> None:
    assert detect(make_view({"total_loss": [1.0] * 200, "gradient_norm": [1e6] * 200})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("exploding_flow") == []
