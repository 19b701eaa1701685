from __future__ import annotations

import pytest

from smart_tuner.detectors.optimization.loss_spike import detect
from tests.smart_tuner.histories import falling, false_alarms, make_view, noisy

FALLING = falling(5.0, 1.5, 120, 0.1)
ACTIVE = {"loss_spike": 121}


def times(factor: float, n: int, spread: float = 0.1) -> list[float]:
    return noisy(factor * 1.85, n, spread, seed=1)


def test_a_loss_three_times_as_high_after_the_weights_were_disturbed_is_a_spike() -> None:
    assert detect(make_view({"total_loss": FALLING + times(3, 3)})) is None
    found = detect(make_view({"total_loss": FALLING + times(3, 4)}))
    assert found is not None
    assert (found.severity, found.step, found.since) == ("critical", 124, 121)
    assert found.evidence["total_loss"] == pytest.approx(5.5, rel=0.3)
    assert found.evidence["before"] == pytest.approx(1.9, rel=0.2)
    assert found.evidence["deviations"] > 5


@pytest.mark.parametrize("n_high", [1, 2, 3])
def test_a_few_bad_batches_are_no_spike(n_high: int) -> None:
    assert detect(make_view({"total_loss": FALLING + times(20, n_high) + times(1, 3)})) is None


@pytest.mark.parametrize(("factor", "is_spike"), [(1.49, False), (1.51, True)])
def test_a_quiet_loss_may_rise_by_half(factor: float, is_spike: bool) -> None:
    assert (detect(make_view({"total_loss": [2.0] * 50 + [2.0 * factor] * 6})) is not None) is is_spike


def test_a_noisy_loss_may_rise_further() -> None:
    assert detect(make_view({"total_loss": noisy(2.0, 100, 0.4) + [5.0] * 6})) is None
    assert detect(make_view({"total_loss": noisy(2.0, 100, 0.1) + [5.0] * 6})) is not None


def test_it_leaves_when_the_loss_is_nearly_where_it_was() -> None:
    assert detect(make_view({"total_loss": [2.0] * 50 + [2.6] * 6})) is None
    found = detect(make_view({"total_loss": [2.0] * 71 + [2.4] * 6}, active={"loss_spike": 60}))
    assert found is not None and found.since == 60
    assert detect(make_view({"total_loss": [2.0] * 71 + [2.3] * 6}, active={"loss_spike": 60})) is None


def test_a_higher_level_becomes_no_habit_while_it_is_a_spike() -> None:
    assert detect(make_view({"total_loss": FALLING + times(3, 60)}, active=ACTIVE)) is not None
    assert detect(make_view({"total_loss": FALLING + times(3, 60)})) is None


def test_a_part_of_the_loss_that_was_given_more_weight_is_no_spike() -> None:
    total = [2.0] * 50 + [4.0] * 6
    assert detect(make_view({"total_loss": total, "mel_loss": [1.0] * 56})) is None
    assert detect(make_view({"total_loss": total, "mel_loss": [1.0] * 50 + [2.0] * 6})) is not None
    assert detect(make_view({"total_loss": total, "mel_loss": [None] * 56})) is not None


def test_the_first_steps_have_no_habit() -> None:
    assert detect(make_view({"total_loss": [2.0] * 14 + [9.0] * 6})) is None
    assert detect(make_view({"total_loss": [2.0] * 15 + [9.0] * 6})) is not None
    assert detect(make_view({"total_loss": [2.0] * 50 + [9.0] * 6}, begin=40)) is None


def test_gaps_say_nothing_and_hide_nothing() -> None:
    assert detect(make_view({})) is None
    assert detect(make_view({"total_loss": [2.0] * 50 + [None, None, 9.0, None, None, 9.0]})) is None
    found = detect(make_view({"total_loss": [2.0] * 50 + [None, 9.0, 9.0, None, None, 9.0]}))
    assert found is not None and found.since == 52


def test_a_log_likelihood_that_passes_zero_is_no_spike() -> None:
    around_zero = [0.01, -0.02, 0.01, -0.01, -0.02, 0.01] * 10
    assert detect(make_view({"total_loss": [*around_zero, *([0.5] * 6)]})) is None
    assert detect(make_view({"total_loss": [1 - step / 50 for step in range(100)]})) is None
    assert detect(make_view({"total_loss": [-2.0] * 50 + [-1.0] * 6})) is None


def test_healthy_runs_are_left_alone() -> None:
    assert false_alarms("loss_spike") == []
