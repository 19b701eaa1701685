"""Signals that only the supervisor looks at, and what it asks of their history."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from monitoring.measures.signals import (
    GATE_THRESHOLDS,
    OUTLIER_RATIO,
    calibrated_gate_threshold,
    gate_verdict,
    outlier_utterances,
    step_signals,
)
from tests.monitoring.measures.test_signals import FRAMES, Decode, R, Step, gate, signals_of

NAMES = ("a", "b", "c", "d")


def outliers(*losses: float) -> dict[str, float | None]:
    return outlier_utterances(replace(Step(), utterance_ids=NAMES[: len(losses)], utterance_losses=losses))


def test_an_utterance_stands_out_by_its_loss_as_a_multiple_of_the_median() -> None:
    assert outliers(1.0, 2.0, 3.0, 2.0) == {}
    assert outliers(1.0, 1.0, 1.0, OUTLIER_RATIO) == {"d": OUTLIER_RATIO}
    assert outliers(2.0, 2.0, 2.0, 0.99 * 2 * OUTLIER_RATIO) == {}
    assert outliers(2.0, 100.0, 2.0) == {"b": 50.0}


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_stands_out_without_a_multiple(broken: float) -> None:
    assert outliers(1.0, broken, 1.0, 9.0) == {"b": None, "d": 9.0}
    assert outliers(1.0, broken) == {"b": None}


def test_nobody_stands_out_of_a_broken_model_or_of_no_losses() -> None:
    assert outliers(math.nan, math.nan, math.inf) == {}
    assert outlier_utterances(replace(Step(), utterance_losses=())) == {}


def test_a_loss_of_zero_is_not_a_broken_one() -> None:
    assert outliers(0.0, 0.0, 0.0) == {}
    assert outliers(0.0, 0.0, 3.0) == {}
    assert outliers(0.0, 0.0, math.nan) == {"c": None}


def test_the_outliers_of_a_step_are_counted() -> None:
    report = replace(Step(), utterance_losses=(1.0, math.nan, 1.0))
    assert step_signals(report)["outlier_utterances"] == 1.0
    assert step_signals(replace(Step(), out_of_memory_steps=3))["out_of_memory_steps"] == 3.0


def opens(probability: float, at: int = FRAMES // R - 1) -> Decode:
    """A gate that is nearly shut but for one step."""
    probabilities = np.full(FRAMES // R, 0.01)
    probabilities[at] = probability
    return Decode(forced_gate=probabilities)


def test_the_threshold_is_calibrated_to_the_gates() -> None:
    hesitant = [opens(0.22), opens(0.2), opens(0.17)]
    assert signals_of(*hesitant)["gate_accuracy"] == 0.0
    threshold = calibrated_gate_threshold(hesitant)
    assert threshold is not None and 0.05 <= threshold < 0.17
    assert {gate_verdict(decode, threshold) for decode in hesitant} == {"gate_accuracy"}
    assert signals_of(*hesitant)["calibrated_gate_threshold"] == threshold


def test_a_gate_that_flickers_needs_a_higher_threshold() -> None:
    flickering = opens(0.9)
    assert flickering.forced_gate is not None
    flickering.forced_gate[3] = 0.62
    threshold = calibrated_gate_threshold([flickering])
    assert threshold == 0.75  # the middle of .65 to .85
    assert calibrated_gate_threshold([flickering, opens(0.7), opens(0.7)]) == 0.65


def test_it_is_what_serves_most() -> None:
    assert calibrated_gate_threshold([opens(0.1), opens(0.1), opens(0.9), opens(0.01)]) == 0.05


def test_without_a_gate_that_opens_at_the_end_there_is_no_threshold() -> None:
    assert calibrated_gate_threshold([]) is None
    assert calibrated_gate_threshold([opens(0.9, at=2), opens(0.0)]) is None
    assert calibrated_gate_threshold([Decode(forced_gate=np.full(FRAMES // R, np.nan))]) is None


def test_of_thresholds_that_serve_as_well_it_is_the_middle_one() -> None:
    assert calibrated_gate_threshold([Decode(forced_gate=gate(FRAMES // R - 1))]) == 0.5
    assert GATE_THRESHOLDS[0] == 0.05 and GATE_THRESHOLDS[-1] == 0.95
