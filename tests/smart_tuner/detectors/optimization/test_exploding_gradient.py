from __future__ import annotations

import pytest

from smart_tuner.detectors.optimization.exploding_gradient import detect
from tests.smart_tuner.histories import false_alarms, make_view, noisy

USUAL = noisy(4.0, 100, 0.5)
BURST = [400.0, 4.0, 500.0, 4.0, 600.0, 4.0, 700.0, 4.0, 800.0]


def test_gradients_far_above_their_habit_five_times_explode() -> None:
    found = detect(make_view({"gradient_norm": [*USUAL, *BURST]}))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("warning", 109, 101)
    assert (found.evidence["gradient_norm"], found.evidence["steps"], found.evidence["threshold"]) == (800.0, 5, 10.0)
    assert found.evidence["deviations"] > 6


def test_up_to_four_jumps_are_clipped_and_do_no_harm() -> None:
    assert detect(make_view({"gradient_norm": [*USUAL, 200.0]})) is None
    assert detect(make_view({"gradient_norm": [*USUAL, *BURST[:8]]})) is None


def test_a_hundred_thousand_is_critical_at_once_and_without_a_habit() -> None:
    found = detect(make_view({"gradient_norm": [*USUAL, 1e5]}))
    assert found is not None and (found.severity, found.since) == ("critical", 101)
    found = detect(make_view({"gradient_norm": [1e5]}))
    assert found is not None and found.severity == "critical" and "deviations" not in found.evidence


@pytest.mark.parametrize(("norm", "explodes"), [(3000.0, False), (3001.0, True)])
def test_beyond_hundreds_of_the_threshold_one_is_enough(norm: float, explodes: bool) -> None:
    assert (detect(make_view({"gradient_norm": [*USUAL, norm]})) is not None) is explodes


def test_once_exploding_it_leaves_when_it_has_nearly_calmed_down() -> None:
    norms, active = [*USUAL, *BURST, *noisy(4.0, 10, 0.5)], {"exploding_gradient": 101}
    assert detect(make_view({"gradient_norm": norms[:116]}, active=active)) is not None
    assert detect(make_view({"gradient_norm": norms[:116]})) is None
    assert detect(make_view({"gradient_norm": norms[:117]}, active=active)) is None


def test_large_gradients_below_the_threshold_are_small() -> None:
    assert detect(make_view({"gradient_norm": [0.01] * 100 + [10.0] * 5})) is None
    assert detect(make_view({"gradient_norm": [0.01] * 100 + [10.1] * 5})) is not None


def test_a_healthy_start_is_no_alarm() -> None:
    assert detect(make_view({"gradient_norm": [900.0, 400.0, 300.0, 80.0, 60.0, 40.0, 30.0]})) is None


def test_a_wide_habit_forgives_more() -> None:
    assert detect(make_view({"gradient_norm": noisy(4.0, 100, 1.0) + [150.0] * 5})) is None
    assert detect(make_view({"gradient_norm": noisy(4.0, 100, 0.2) + [150.0] * 5})) is not None


def test_gaps_and_zeros_are_no_explosion() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"gradient_norm": [None] * 30})) is None
    assert detect(make_view({"gradient_norm": [0.0] * 50 + [20.0] * 9})) is None
    gaps = [*USUAL, None, 400.0, None, 500.0, None, 600.0, 700.0, None, 800.0, None]
    found = detect(make_view({"gradient_norm": gaps}))
    assert found is not None and found.since == 102


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("exploding_gradient") == []
