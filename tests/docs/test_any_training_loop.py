"""The example of the README: another kind of model, a plain loop, gradients and losses only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from docs import any_training_loop

STEPS = 1200


def trained(learning_rate: float) -> tuple[float, list[tuple[str, Mapping[str, Any]]]]:
    """The last loss, and what the supervisor said."""
    torch.manual_seed(0)
    said: list[tuple[str, Mapping[str, Any]]] = []
    loss = any_training_loop.train(learning_rate, STEPS, lambda kind, step, fields: said.append((kind, fields)))
    return loss, said


def test_it_is_short() -> None:
    assert len(Path(any_training_loop.__file__).read_text(encoding="utf-8").splitlines()) < 40


def test_a_healthy_loop_is_left_alone() -> None:
    loss, said = trained(0.03)
    assert loss < 0.01 and said == []


@pytest.mark.parametrize("learning_rate", [0.1, 0.2])
def test_a_loop_that_blows_up_is_saved(learning_rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, said = trained(learning_rate)
    assert loss < 0.01
    assert {fields["ailment"] for kind, fields in said if kind == "diagnosis"} >= {"exploding_gradient"}
    assert [fields["verdict"] for kind, fields in said if kind == "follow_up"][-1] == "helped"
    monkeypatch.setattr(any_training_loop.Learner, "actions", ())
    alone, _ = trained(learning_rate)
    assert not alone < 1e6 or math.isnan(alone)
