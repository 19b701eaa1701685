"""The supervisor at run time: takes events in, sends decisions to the journal and orders to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from monitoring.events import ArmSignals, CheckpointEvent, EvaluationEvent, Event, StepEvent
from monitoring.measures.signals import Signals
from reports import RollbackReport, TrainerOrder
from smart_tuner.supervisor import Supervisor
from smart_tuner.treatment.decisions import Decision

DecisionSink = Callable[[str, int, Mapping[str, Any]], None]
"""Receives each decision: its kind, its step and its fields."""


class RunControls(Protocol):
    """A training loop that can be steered: names the actions it supports and executes orders between two steps."""

    @property
    def actions(self) -> Sequence[str]: ...
    def execute(self, order: TrainerOrder) -> None: ...


class SupervisorRuntime:
    """A supervisor connected to one training loop; one that only advises gives no orders."""

    def __init__(self, supervisor: Supervisor, controls: RunControls, *, on_decision: DecisionSink) -> None:
        self.supervisor, self._controls, self._on_decision = supervisor, controls, on_decision
        self._enter_phase()

    def on_event(self, event: Event) -> None:
        match event:
            case StepEvent():
                self.on_step(event.report.step, event.signals, event.outliers)
            case EvaluationEvent():
                self.on_evaluation(event.report.step, event.signals, event.distances, event.odd_utterances)
            case CheckpointEvent():
                self.on_checkpoint(event.report.step, event.report.kept, event.signals)
            case RollbackReport():
                self.on_rollback(event.step)

    def on_step(self, step: int, signals: Signals, outliers: Mapping[str, float | None] | None = None) -> None:
        self._act(self.supervisor.observe_step(step, signals, outliers))

    def on_evaluation(
        self,
        step: int,
        signals: Signals,
        distances: Mapping[str, float] | None = None,
        odd_utterances: Sequence[str] = (),
    ) -> None:
        self._act(self.supervisor.observe_evaluation(step, signals, distances, odd_utterances))

    def on_checkpoint(self, step: int, kept_steps: Sequence[int], signals: Signals) -> None:
        self._act(self.supervisor.observe_checkpoint(step, kept_steps, signals))

    def on_rollback(self, step: int | None) -> None:
        """`step` is None when the training could not go back."""
        self._act(self.supervisor.observe_rollback(step))
        self._enter_phase()

    def on_race(self, start_step: int, arms: Sequence[ArmSignals]) -> int:
        """Return the index of the arm that training continues with."""
        decisions, winner = self.supervisor.observe_race(start_step, arms)
        self._act(decisions)
        return winner

    def on_abandoned(self, start_step: int, arm: ArmSignals | None) -> str | None:
        """Return the phase that training goes back to with the abandoned state; None if it does not."""
        decisions, returns = self.supervisor.observe_abandoned(start_step, arm)
        self._act(decisions)
        if not returns:
            return None
        self._enter_phase()
        return self.supervisor.state.phase

    def on_person_turn(self, knob: str, position: float) -> None:
        """Record that a person has turned a knob."""
        self._act(self.supervisor.observe_turn(knob, position))

    def answer_proposal(self, number: int, *, granted: bool) -> None:
        self.supervisor.state.answer_proposal(number, granted=granted)

    @property
    def open_proposals(self) -> tuple[int, ...]:
        """The numbers of proposals that wait for an answer."""
        return tuple(self.supervisor.state.proposed)

    def is_still_needed(self, number: int) -> bool:
        """Tell whether the ailment that a proposal treats is still there."""
        state = self.supervisor.state
        return state.proposed[number][0] in state.active

    def state_dict(self) -> dict[str, Any]:
        return self.supervisor.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.supervisor.load_state_dict(state)
        self._enter_phase()

    def _enter_phase(self) -> None:
        if not self.supervisor.advise and "enter_phase" in self._controls.actions:
            self._controls.execute(self.supervisor.phase_order())

    def _act(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            self._on_decision(decision.kind, decision.step, decision.fields)
            for order in decision.orders:
                if not self.supervisor.advise:
                    self._controls.execute(order)
                if order.action == "restart":
                    self._enter_phase()
