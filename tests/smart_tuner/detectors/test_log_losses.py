"""Flow losses are logarithms and may be negative: a factor of other losses is a difference of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors import DETECTORS
from smart_tuner.diagnosis import Diagnosis
from tests.smart_tuner.histories import FLOW, Values, by_step, every, falling, make_facts, make_view, noisy

FALLING = falling(5.0, 1.5, 120, 0.1)
OSCILLATING = [level * factor for level in (2.0, 4.0) * 7 for factor in noisy(1.0, 5, 0.05)][:60]
RATIO = {"update_ratio": every(10, [0.004] * 17 + [0.03] * 3)}
OVERFITTING: dict[str, Values] = {
    "val_mel_loss": every(100, [1.0, 0.8, 0.7, 0.7, 0.7, 0.9, 0.95, 1.0]),
    "mel_loss": falling(1, 0.3, 800),
}

SIGNALS_BY_AILMENT: dict[str, dict[str, Values]] = {
    "loss_spike": {"total_loss": [*FALLING, *noisy(6.0, 6, 0.1)]},
    "oscillating_loss": {"total_loss": OSCILLATING},
    "plateau": {"val_total_loss": every(50, [3.0, *[1.9] * 6]), "learning_rate": [1e-3] * 350},
    "overfitting": OVERFITTING,
    "learning_rate_too_high": {"total_loss": [3.0] * 200, **RATIO},
}


def as_flow(series: dict[str, Values]) -> dict[str, Values]:
    """The signals of the same run, if the model were a flow."""
    converted: dict[str, Values] = {}
    for name, values in series.items():
        logs = {s: None if v is None else math.log(v) for s, v in by_step(values).items()}
        converted[name.replace("mel_loss", "nll_loss")] = logs if "loss" in name else values
    return converted


def diagnose(ailment: str, series: dict[str, Values], **facts: Any) -> Diagnosis | None:
    return DETECTORS[ailment](make_view(series, make_facts(**facts), phase="quality"))


@pytest.mark.parametrize("ailment", SIGNALS_BY_AILMENT)
def test_a_flow_has_the_same_ailments_with_values_on_its_own_scale(ailment: str) -> None:
    signals = SIGNALS_BY_AILMENT[ailment]
    usual, flow = diagnose(ailment, signals), diagnose(ailment, as_flow(signals), **FLOW)
    assert usual is not None and flow is not None
    assert (flow.severity, flow.step, flow.since) == (usual.severity, usual.step, usual.since)
    for name in ("total_loss", "val_total_loss", "before", "best"):
        if name in usual.evidence and "update_ratio" not in usual.evidence:
            assert flow.evidence[name] == pytest.approx(math.log(usual.evidence[name]))


@pytest.mark.parametrize("ailment", SIGNALS_BY_AILMENT)
def test_a_healthy_flow_with_negative_losses_has_no_ailment(ailment: str) -> None:
    levels = [1.5 - 2.5 * (1 - math.exp(-step / 300)) for step in range(1000)]
    losses: Sequence[float] = [loss + math.log(noise) for loss, noise in zip(levels, noisy(1, 1000, 0.05), strict=True)]
    series: dict[str, Values] = {
        "total_loss": losses,
        "nll_loss": losses,
        "update_ratio": every(10, noisy(0.004, 100, 0.3)),
        "learning_rate": [1e-3] * 1000,
        "val_total_loss": every(100, levels[99::100]),
        "val_nll_loss": every(100, levels[99::100]),
    }
    assert diagnose(ailment, series, planned_steps=2000, **FLOW) is None
