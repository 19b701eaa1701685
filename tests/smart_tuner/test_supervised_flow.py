"""Treatment of the ailments of flows, on simulated runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from monitoring.measures.signals import Signals
from smart_tuner.inputs.run_facts import KnobFacts
from tests.smart_tuner.histories import FLOW
from tests.smart_tuner.simulated_loop import SimulatedLoop
from tests.smart_tuner.simulated_runs import FACTS, Change, remedies

KNOBS = FACTS.knobs | {"duration_loss_weight": KnobFacts(start=1.0, low=0.0, high=4.0, first=0.25)}
FLOW_FACTS = FACTS.model_copy(update={**FLOW, "knobs": KNOBS, "planned_steps": 1500})


def healthy_step(step: int, work: int, seed: int) -> Signals:
    """Signals of a step; the loss falls below zero."""
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


def simulate(change: Change, *, n_steps: int = 300, seed: int = 0) -> SimulatedLoop:
    def trace(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        step_changes, evaluation_changes, outliers = change(step, work)
        return (
            {**healthy_step(step, work, seed), **step_changes},
            {**HEALTHY_EVALUATION, **evaluation_changes},
            outliers,
        )

    loop = SimulatedLoop(FLOW_FACTS, trace)
    loop.run(n_steps)
    return loop


def interventions_of(loop: SimulatedLoop) -> list[dict[str, Any]]:
    return [record for record in loop.decisions("intervention") if "remedy" in record]


def mechanisms(loop: SimulatedLoop) -> list[str]:
    return [record["mechanism"] for record in loop.decisions("follow_up") if "mechanism" in record]


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_flow_has_no_diagnosis(seed: int) -> None:
    loop = simulate(lambda step, work: ({}, {}, {}), seed=seed)
    assert loop.decisions("diagnosis", "intervention", "follow_up") == []


def test_a_spike_of_a_negative_loss_is_rolled_back() -> None:
    broken: Signals = {"total_loss": 2.0, "nll_loss": 2.0}
    loop = simulate(lambda step, work: (broken if 230 <= work < 240 else {}, {}, {}))
    assert remedies(loop) == ["roll_back"] and mechanisms(loop) == ["works"]
    (intervention,) = interventions_of(loop)
    assert intervention["ailment"] == "loss_spike"
    assert intervention["expected"]["target"] == pytest.approx(-0.2 + 0.15, abs=0.1)


def test_a_flow_that_is_hard_to_invert_is_rolled_back_although_its_loss_is_normal() -> None:
    singular: Signals = {"convolution_condition": 1e6}
    loop = simulate(lambda step, work: (singular if 195 <= work < 215 and step % 10 == 0 else {}, {}, {}))
    interventions = interventions_of(loop)
    assert [(record["ailment"], record["remedy"]) for record in interventions] == [("exploding_flow", "roll_back")]
    assert interventions[0]["expected"]["signal"] == "convolution_condition"
    assert interventions[0]["expected"]["target"] == pytest.approx(1.5 * 1.15)
    assert mechanisms(loop) == ["works"]


def test_a_sawtooth_loss_is_clipped_first() -> None:
    def jumps(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        height = 0.6 * math.exp(-(step % 12) / 3)
        loss = float(height + np.random.default_rng(work).normal(0, 0.02))
        return {"total_loss": loss, "nll_loss": loss}, {}, {}

    interventions = interventions_of(simulate(jumps))
    assert interventions[0]["ailment"] == "sawtooth_loss" and interventions[0]["remedy"] == "tighter_clipping"


def test_overfit_durations_are_frozen() -> None:
    def change(step: int, work: int) -> tuple[Signals, Signals, Mapping[str, float | None]]:
        return {}, {"val_duration_loss": 0.1 * max(1.0, math.exp((step - 100) / 300))}, {}

    loop = simulate(change, n_steps=500)
    first, *_ = interventions_of(loop)
    assert (first["ailment"], first["remedy"], first["to"]) == ("overfit_durations", "freeze_durations", 0.0)
    knob = "duration_loss_weight"
    assert [order.knobs[knob] for _, order in loop.orders if knob in order.knobs][:3] == [0.5, 0.25, 0.0]


def test_durations_collapsed_from_the_start_are_diagnosed_early() -> None:
    collapsed: Signals = {"zero_duration_share": 1.0, "length_ratio": 0.2, "length_accuracy": 0.0}
    loop = simulate(lambda step, work: ({}, collapsed, {}), n_steps=200)
    interventions = interventions_of(loop)
    assert interventions[0]["ailment"] == "collapsed_durations" and interventions[0]["step"] <= 120
