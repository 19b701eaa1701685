"""Decisions of the supervisor: a journal record, and the orders to the training loop that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reports import TrainerOrder
from smart_tuner.state import SupervisorState

Kind = Literal["phase", "diagnosis", "proposal", "intervention", "follow_up"]


@dataclass(frozen=True)
class Decision:
    """One journal record with the orders that carry it out."""

    kind: Kind
    step: int
    fields: Mapping[str, Any]
    orders: tuple[TrainerOrder, ...] = ()


def make_decision(state: SupervisorState, kind: Kind, fields: Mapping[str, Any], *orders: TrainerOrder) -> Decision:
    """A decision at the present step, with the present phase added to its fields."""
    return Decision(kind, state.step, {"phase": state.phase, **fields}, orders)
