"""What a supervisor decided, as the journal keeps it and the training loop hears it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reports import TrainerOrder
from smart_tuner.state import SupervisorState

Kind = Literal["phase", "diagnosis", "proposal", "intervention", "follow_up"]


@dataclass(frozen=True)
class Decision:
    """One record for the journal, and what the training loop is to do about it."""

    kind: Kind
    step: int
    fields: Mapping[str, Any]
    orders: tuple[TrainerOrder, ...] = ()


def decide(state: SupervisorState, kind: Kind, fields: Mapping[str, Any], *orders: TrainerOrder) -> Decision:
    return Decision(kind, state.step, {"phase": state.phase, **fields}, orders)
