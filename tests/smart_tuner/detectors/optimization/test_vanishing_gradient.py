from __future__ import annotations

import pytest

from smart_tuner.detectors.optimization.vanishing_gradient import detect
from tests.smart_tuner.histories import false_alarms, make_view, noisy

LOSSES = noisy(5.0, 100)


def test_gradients_of_nothing_while_the_loss_is_bad_are_found() -> None:
    norms = noisy(4.0, 40, 0.5) + noisy(1e-6, 60, 0.5)
    found = detect(make_view({"gradient_norm": norms, "total_loss": LOSSES}))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 100, 41)
    assert found.evidence["gradient_norm"] < 1e-5 and found.evidence["limit"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("norm", "is_sick", "stays_sick"), [(9e-5, True, True), (1.1e-4, False, True), (4e-4, False, False)]
)
def test_it_leaves_at_more_than_where_it_enters(norm: float, is_sick: bool, stays_sick: bool) -> None:
    series = {"gradient_norm": [norm] * 100, "total_loss": LOSSES}
    assert (detect(make_view(series)) is not None) is is_sick
    assert (detect(make_view(series, active={"vanishing_gradient": 1})) is not None) is stays_sick


def test_where_the_loss_is_at_its_target_nothing_is_left_to_learn() -> None:
    for losses in ([1.0] * 100, [0.01] * 100, [-3.0] * 100):
        assert detect(make_view({"gradient_norm": [1e-6] * 100, "total_loss": losses})) is None


def test_gradients_of_zero_have_vanished() -> None:
    assert detect(make_view({"gradient_norm": [0.0] * 100, "total_loss": LOSSES})) is not None


def test_gaps_say_nothing() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"gradient_norm": [1e-6] * 49, "total_loss": LOSSES[:49]})) is None
    assert detect(make_view({"gradient_norm": [1e-6] * 50, "total_loss": LOSSES[:50]})) is not None
    assert detect(make_view({"gradient_norm": [1e-6] * 100, "total_loss": [None] * 100})) is None
    assert detect(make_view({"gradient_norm": [None] * 100, "total_loss": LOSSES})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("vanishing_gradient") == []
