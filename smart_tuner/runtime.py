"""Hands signals to the supervisor, its decisions to the journal, and its orders to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from monitoring.measures.signals import Signals
from reports import TrainerOrder
from smart_tuner.supervisor import Arm, Supervisor
from smart_tuner.treatment.decisions import Decision

Tell = Callable[[str, int, Mapping[str, Any]], None]
"""Takes down a decision: its kind, its step and what it says."""


class RunControls(Protocol):
    """A training loop that can be steered: names the actions it knows and carries orders out between two steps."""

    @property
    def actions(self) -> Sequence[str]: ...
    def carry_out(self, order: TrainerOrder) -> None: ...


class FinishedArm(Protocol):
    """One contender of a race, in signals."""

    @property
    def knobs(self) -> Mapping[str, float]: ...
    @property
    def steps(self) -> Sequence[tuple[int, Signals]]: ...
    @property
    def evaluation(self) -> Signals: ...


class Supervision:
    """A supervisor at work on one training loop; one that only advises gives no orders."""

    def __init__(self, supervisor: Supervisor, controls: RunControls, *, tell: Tell) -> None:
        self.supervisor, self._controls, self._tell = supervisor, controls, tell
        self._enter_phase()

    def step(self, step: int, signals: Signals, outliers: Mapping[str, float | None] | None = None) -> None:
        self._act(self.supervisor.observe_step(step, signals, outliers))

    def evaluation(self, step: int, signals: Signals) -> None:
        self._act(self.supervisor.observe_evaluation(step, signals))

    def checkpoint(self, step: int, kept: Sequence[int], signals: Signals) -> None:
        self._act(self.supervisor.observe_checkpoint(step, kept, signals))

    def rolled_back(self, step: int | None) -> None:
        self._act(self.supervisor.observe_rollback(step))
        self._enter_phase()

    def race(self, start_step: int, arms: Sequence[FinishedArm]) -> int:
        """Returns which arm goes on."""
        contenders = [Arm(arm.knobs, tuple(arm.steps), arm.evaluation) for arm in arms]
        decisions, winner = self.supervisor.observe_race(start_step, contenders)
        self._act(decisions)
        return winner

    def turned(self, knob: str, position: float) -> None:
        """A person has turned a knob."""
        self._act(self.supervisor.observe_turn(knob, position))

    def answered(self, number: int, *, granted: bool) -> None:
        self.supervisor.observe_answer(number, granted=granted)

    @property
    def proposed(self) -> tuple[int, ...]:
        """The numbers of proposals that wait for an answer."""
        return tuple(self.supervisor.state.proposed)

    def is_called_for(self, number: int) -> bool:
        """Whether what a proposal is about goes on."""
        state = self.supervisor.state
        return state.proposed[number][0] in state.active

    def state_dict(self) -> dict[str, Any]:
        return self.supervisor.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.supervisor.load_state_dict(state)
        self._enter_phase()

    def _enter_phase(self) -> None:
        if not self.supervisor.advise and "enter_phase" in self._controls.actions:
            self._controls.carry_out(self.supervisor.phase_order())

    def _act(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            self._tell(decision.kind, decision.step, decision.fields)
            for order in decision.orders:
                if not self.supervisor.advise:
                    self._controls.carry_out(order)
                if order.action == "restart":
                    self._enter_phase()
