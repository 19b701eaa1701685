"""Interventions: the orders to give to the training loop, and the effect expected of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports import TrainerOrder

Direction = Literal["up", "down"]
WEIGHT_CHANGES = ("roll_back", "restart")
"""Orders that abandon the present weights, which are kept until the verdict."""


@dataclass(frozen=True)
class Expectation:
    """The signal that an intervention should move, in which direction and by which step."""

    signal: str
    direction: Direction
    by_step: int
    forecast: float | None  # value that is expected without the intervention
    noise: float
    target: float | None = None  # healthy value; when it is reached, the intervention helped whatever the forecast


@dataclass(frozen=True)
class InterventionPlan:
    """A remedy made concrete: orders to give at once, or a knob to turn to its target in limited steps."""

    expected: Expectation
    orders: tuple[TrainerOrder, ...] = ()
    knob: str | None = None
    target: float | None = None
    asks: bool = False  # whether a person must agree, whatever the settings say

    @property
    def required_actions(self) -> set[str]:
        """Actions that the training loop must support."""
        return {order.action for order in self.orders} | ({"turn"} if self.knob is not None else set())
