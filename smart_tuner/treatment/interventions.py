"""What the supervisor asks of a training loop, and what it promises that this will do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports import TrainerOrder

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Expectation:
    """Which signal an intervention shall move, which way and by when, beside what would have happened anyway."""

    signal: str
    direction: Direction
    by_step: int
    forecast: float | None
    noise: float
    target: float | None = None  # where all is well, whatever the forecast


@dataclass(frozen=True)
class InterventionPlan:
    """A remedy made concrete; a knob is moved to its target in steps of the size allowed."""

    expected: Expectation
    orders: tuple[TrainerOrder, ...] = ()
    knob: str | None = None
    target: float | None = None

    @property
    def actions(self) -> set[str]:
        """All that the training loop must be able to do for it."""
        return {order.action for order in self.orders} | ({"turn"} if self.knob is not None else set())
