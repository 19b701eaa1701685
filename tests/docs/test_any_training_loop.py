"""The guide's example of another training loop: a small network, with losses and gradient norms as its only signals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from docs import any_training_loop

STEPS = 1200
DIVERGENCE = {"exploding_gradient", "loss_spike", "oscillating_loss", "nonfinite_step"}


def train(learning_rate: float) -> tuple[float, list[tuple[str, Mapping[str, Any]]]]:
    """The last loss, and the supervisor's decisions by kind."""
    torch.manual_seed(0)
    decisions: list[tuple[str, Mapping[str, Any]]] = []
    loss = any_training_loop.train(learning_rate, STEPS, lambda kind, step, fields: decisions.append((kind, fields)))
    return loss, decisions


def test_it_is_short() -> None:
    assert len(Path(any_training_loop.__file__).read_text(encoding="utf-8").splitlines()) < 40


def test_a_healthy_loop_is_left_alone() -> None:
    loss, decisions = train(0.03)
    assert loss < 0.01 and decisions == []


@pytest.mark.parametrize("learning_rate", [0.1, 0.15])
def test_a_diverging_loop_is_rescued(learning_rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, decisions = train(learning_rate)
    assert loss < 0.01
    assert {fields["ailment"] for kind, fields in decisions if kind == "diagnosis"} & DIVERGENCE
    verdicts = [fields["verdict"] for kind, fields in decisions if kind == "follow_up" and "verdict" in fields]
    assert verdicts[0] == "unknown"  # healthy again, without a control that shows why
    monkeypatch.setattr(any_training_loop.SineModel, "actions", ())
    unsupervised_loss, _ = train(learning_rate)
    assert not unsupervised_loss < 1e6 or math.isnan(unsupervised_loss)
