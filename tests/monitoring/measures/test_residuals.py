"""Residuals of utterances: a group with wrong texts stands apart, the tail of one distribution does not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from monitoring.measures.residuals import UtteranceResiduals, split_in_two

N = 200


def trained(
    excess: dict[int, float], *, noise: float = 0.1, is_log: bool = False, epochs: int = 4
) -> UtteranceResiduals:
    """Losses that fall over epochs of batches of eight; some utterances' logarithms lie above the others'."""
    rng, residuals = np.random.default_rng(0), UtteranceResiduals(losses_are_logarithms=is_log)
    for epoch in range(epochs):
        order = rng.permutation(N)
        for start in range(0, N, 8):
            logs = [3 - epoch - start / N + rng.normal(0, noise) + excess.get(i, 0.0) for i in order[start : start + 8]]
            losses = logs if is_log else [math.exp(value) for value in logs]
            residuals.record([f"u{i:03}" for i in order[start : start + 8]], losses)
    return residuals


WRONG = {i: 0.8 for i in range(30)}


@pytest.mark.parametrize("is_log", [False, True])
def test_a_group_that_is_predicted_worse_stands_apart(is_log: bool) -> None:
    group = trained(WRONG, is_log=is_log).odd_group()
    assert group is not None and group.stands_apart
    assert group.utterances == tuple(sorted(group.utterances, key=lambda id_: group.utterances.index(id_)))
    assert set(group.utterances) == {f"u{i:03}" for i in WRONG}
    assert group.share == pytest.approx(0.15) and group.excess == pytest.approx(0.8, abs=0.1)
    assert group.separation > 4 and group.overlap < 0.1


def test_a_group_that_is_predicted_better_has_a_negative_excess() -> None:
    group = trained({i: -1.5 for i in range(40)}).odd_group()
    assert group is not None and group.stands_apart and group.excess == pytest.approx(-1.5, abs=0.1)
    assert set(group.utterances) == {f"u{i:03}" for i in range(40)}


def test_one_distribution_does_not_fall_apart() -> None:
    group = trained({}).odd_group()
    assert group is not None and not group.stands_apart and group.overlap > 0.3


def test_nothing_is_known_until_most_utterances_were_used_three_times() -> None:
    assert trained(WRONG, epochs=2).odd_group() is None
    assert trained(WRONG, epochs=3).odd_group() is not None
    assert UtteranceResiduals().odd_group() is None


def test_losses_that_are_not_finite_say_nothing() -> None:
    residuals = UtteranceResiduals()
    residuals.record(["a", "b", "c"], [math.nan, math.inf, 0.0])
    residuals.record(["a"], [2.0])
    assert residuals.state_dict() == {"level": math.log(2.0), "residuals": {"a": [0.0]}}


def test_a_loss_of_any_size_counts_at_most_as_a_large_one() -> None:
    residuals = UtteranceResiduals()
    residuals.record(["a", "b", "c"], [1.0, 1.0, 1e30])
    assert residuals.state_dict()["residuals"]["c"] == [2.0]


def test_a_single_step_that_went_wrong_makes_no_group_of_its_utterances() -> None:
    residuals = trained({}, epochs=3)
    residuals.record([f"u{i:03}" for i in range(20)], [math.exp(5.0)] * 20)
    group = residuals.odd_group()
    assert group is not None and not group.stands_apart


def test_after_going_back_nothing_is_known() -> None:
    residuals = trained(WRONG)
    residuals.clear()
    assert residuals.odd_group() is None


def test_batches_of_one_are_compared_with_the_running_level() -> None:
    rng, residuals = np.random.default_rng(0), UtteranceResiduals()
    for _ in range(4):
        for i in rng.permutation(60):
            residuals.record([f"u{i:02}"], [math.exp(rng.normal(0, 0.1) + (1.0 if i < 6 else 0.0))])
    group = residuals.odd_group()
    assert group is not None and group.stands_apart and set(group.utterances) == {f"u{i:02}" for i in range(6)}


def test_utterances_in_quarantine_are_forgotten() -> None:
    residuals = trained(WRONG)
    residuals.forget([f"u{i:03}" for i in WRONG])
    group = residuals.odd_group()
    assert group is not None and not group.stands_apart


def test_the_state_survives_a_resume() -> None:
    residuals, resumed = trained(WRONG), UtteranceResiduals()
    resumed.load_state_dict(json.loads(json.dumps(residuals.state_dict())))
    assert resumed.odd_group() == residuals.odd_group()


def test_equal_values_have_no_groups() -> None:
    assert split_in_two([f"u{i}" for i in range(30)], np.zeros(30)) is None
    assert split_in_two(["a", "b"], np.array([0.0, 1.0])) is None
