"""What the supervisor asks of a training loop, and what it promises that this will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Action = Literal[
    "turn",
    "rerun_step",
    "quarantine",
    "screen",
    "reset_moments",
    "roll_back",
    "restart",
    "race",
    "keep_fewer_checkpoints",
    "fetch_faster",
    "enter_phase",
    "finish",
    "stop",
]


@dataclass(frozen=True)
class Order:
    """One thing to do between two steps."""

    action: Action
    knobs: Mapping[str, float] = field(default_factory=dict)  # turn, restart: where they shall stand
    step: int = 0  # roll_back, race: the checkpoint to go back to
    skip_since: int | None = None  # roll_back: leave out the data of the steps from here on
    n_steps: int = 0  # race: how long each arm runs; reset_moments: of the new warm-up
    arms: tuple[Mapping[str, float], ...] = ()  # race: the knobs of each arm
    reseeded_arm: int | None = None  # race: one that draws other random numbers, to show what they make of a run
    hparams: Mapping[str, float] = field(default_factory=dict)  # restart: what the recipe itself has to change
    utterances: tuple[str, ...] = ()
    phase: str = ""
    targets: Mapping[str, float] = field(default_factory=dict)  # enter_phase: what it makes of the schedules
    reason: str = ""


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
class Plan:
    """A remedy made concrete; a knob is moved to its target in steps of the size allowed."""

    expected: Expectation
    orders: tuple[Order, ...] = ()
    knob: str | None = None
    target: float | None = None

    @property
    def actions(self) -> set[str]:
        """All that the training loop must be able to do for it."""
        return {order.action for order in self.orders} | ({"turn"} if self.knob is not None else set())
