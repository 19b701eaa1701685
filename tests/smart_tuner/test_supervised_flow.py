"""Treatment of a flow's own ailments in a simulated training loop."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from monitoring.measures.signals import Signals
from smart_tuner.inputs.run_facts import KnobFacts
from tests.smart_tuner.histories import FLOW
from tests.smart_tuner.simulated_loop import SimulatedLoop
from tests.smart_tuner.test_properties import FACTS
from tests.smart_tuner.test_supervisor import Change, remedies, verdicts

KNOBS = FACTS.knobs | {"duration_loss_weight": KnobFacts(start=1.0, low=0.0, high=4.0, first=0.25)}
FLOW_FACTS = FACTS.model_copy(update={**FLOW, "knobs": KNOBS, "planned_steps": 1500})


def healthy_step(step: int, work: int, seed: int) -> Signals:
    """Its loss falls through zero."""
    rng = np.random.default_rng([seed, work])
    loss = 1.5 * math.exp(-step / 150) - 0.5 + float(rng.normal(0, 0.04))
    measured = step % 10 == 0
    return {
        "total_loss": loss,
        "nll_loss": loss,
        "duration_loss": 0.2 * math.exp(-step / 200),
        "logdet": 1.0 - loss,
        "latent_deviation": 1.0,
        "gradient_norm": 3 * float(np.exp(rng.normal(0, 0.4))),
        "gradient_norm_flow_1": float(np.exp(rng.normal(0, 0.4))) if measured else None,
        "convolution_condition": 1.5 if measured else None,
        "actnorm_scale": 3.0 if measured else None,
        "learning_rate": 1e-3,
        "update_ratio": 0.004 if measured else None,
        "data_wait_share": 0.01,
        "nonfinite_steps": 0.0,
        "out_of_memory_steps": 0.0,
        "outlier_utterances": 0.0,
    }


HEALTHY_EVALUATION: Signals = {
    "diagonality": 0.8,
    "free_diagonality": 0.9,
    "length_accuracy": 1.0,
    "length_ratio": 1.0,
    "zero_duration_share": 0.05,
    "huge_duration_share": 0.0,
    "stop_rate": 1.0,
    "val_nll_loss": -0.3,
    "val_total_loss": -0.2,
    "val_duration_loss": 0.1,
}


def loop_with(change: Change, *, n_steps: int = 300, seed: int = 0) -> SimulatedLoop:
    def trace(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        of_step, of_evaluation, outliers = change(step, work)
        return {**healthy_step(step, work, seed), **of_step}, {**HEALTHY_EVALUATION, **of_evaluation}, outliers

    loop = SimulatedLoop(FLOW_FACTS, trace)
    loop.run(n_steps)
    return loop


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_flow_is_left_alone(seed: int) -> None:
    loop = loop_with(lambda step, work: ({}, {}, {}), seed=seed)
    assert loop.decisions("diagnosis", "intervention", "follow_up") == []


def test_a_loss_that_leaps_up_below_zero_is_rolled_back() -> None:
    broken: Signals = {"total_loss": 2.0, "nll_loss": 2.0}
    loop = loop_with(lambda step, work: (broken if 230 <= work < 240 else {}, {}, {}))
    assert remedies(loop) == ["roll_back"] and verdicts(loop) == ["helped"]
    (intervention,) = (record for record in loop.decisions("intervention") if "remedy" in record)
    assert intervention["ailment"] == "loss_spike"
    assert intervention["expected"]["target"] == pytest.approx(-0.2 + 0.15, abs=0.1)


def test_a_flow_that_cannot_be_inverted_is_rolled_back() -> None:
    """Without a word from the loss, which does not see it."""
    singular: Signals = {"convolution_condition": 1e6}
    loop = loop_with(lambda step, work: (singular if 195 <= work < 215 and step % 10 == 0 else {}, {}, {}))
    told = [record for record in loop.decisions("intervention") if "remedy" in record]
    assert [(record["ailment"], record["remedy"]) for record in told] == [("exploding_flow", "roll_back")]
    assert told[0]["expected"]["signal"] == "convolution_condition"
    assert told[0]["expected"]["target"] == pytest.approx(1.5 * 1.15)
    assert verdicts(loop) == ["helped"]


def test_a_saw_is_clipped_more_tightly_first() -> None:
    def leaps(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        height = 0.6 * math.exp(-(step % 12) / 3)
        loss = float(height + np.random.default_rng(work).normal(0, 0.02))
        return {"total_loss": loss, "nll_loss": loss}, {}, {}

    told = [record for record in loop_with(leaps).decisions("intervention") if "remedy" in record]
    assert told[0]["ailment"] == "sawtooth_loss" and told[0]["remedy"] == "tighter_clipping"


def test_durations_learnt_by_heart_are_frozen_and_the_rest_learns_on() -> None:
    def by_heart(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        return {}, {"val_duration_loss": 0.1 * max(1.0, math.exp((step - 100) / 300))}, {}

    loop = loop_with(by_heart, n_steps=500)
    told = [record for record in loop.decisions("intervention") if "remedy" in record]
    assert (told[0]["ailment"], told[0]["remedy"], told[0]["to"]) == ("overfit_durations", "freeze_durations", 0.0)
    turned = [order.knobs["duration_loss_weight"] for _, order in loop.orders if "duration_loss_weight" in order.knobs]
    assert turned[:3] == [0.5, 0.25, 0.0]


def test_a_collapse_from_the_start_is_begun_anew() -> None:
    collapsed: Signals = {"zero_duration_share": 1.0, "length_ratio": 0.2, "length_accuracy": 0.0}
    loop = loop_with(lambda step, work: ({}, collapsed, {}), n_steps=200)
    told = [record for record in loop.decisions("intervention") if "remedy" in record]
    assert told[0]["ailment"] == "collapsed_durations" and told[0]["step"] <= 120
