"""The supervisor's own state: diagnoses, interventions and checkpoints so far. A rollback of training keeps most of it.

Field names are stored in checkpoints and stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from reports import TrainerOrder
from smart_tuner.phases import FIRST_PHASE
from smart_tuner.treatment.interventions import Expectation


class PendingFollowUp(BaseModel):
    """An intervention that awaits its verdict."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    ailment: str
    remedy: str
    step: int
    expected: Expectation
    knob: str | None = None
    before: float | None = None  # the knob's position before the intervention
    target: float | None = None  # the knob's position in the end; it may still be on its way
    racing: bool = False  # a race against a control was ordered
    outcomes: list[Expectation] = Field(default_factory=list)  # of held-out signals, by the second deadline
    judged_by: int = 0  # step of the second deadline; 0: judged by the mechanism alone
    number: int = 0  # of the intervention
    active_before: list[str] = Field(
        default_factory=list, validation_alias=AliasChoices("active_before", "known")
    )  # ailments that were active at its start
    utterances: list[str] = Field(default_factory=list)  # that it excluded from training
    abandoned_at: int | None = None  # step of the state that a rollback or restart abandons, if it is kept
    abandoned_length: int = 0  # steps that its attempt had lasted
    lost_steps: int = 0  # that a rollback or restart gives up


CARRIED_FIELDS = (
    *("work_steps", "nonfinite_steps", "interventions", "n_started"),
    *("proposals", "proposed", "granted", "quarantined", "watching", "awaiting_outcome"),
)
"""Fields that count for the whole run, also where training returns to the abandoned state."""


class SupervisorState(BaseModel):
    """Plain values, so that they fit into checkpoints; signals are stored apart from them."""

    model_config = ConfigDict(extra="forbid")

    knobs: dict[str, float]
    step: int = 0
    begin: int = 0  # step of the last restart
    work_steps: int = 0  # steps done, repeated ones included
    nonfinite_steps: int = 0  # counted here if the training loop does not count them
    interventions: int = 0  # that count against the budget
    phases: list[tuple[int, str]] = Field(default_factory=lambda: [(0, FIRST_PHASE)])
    entered_phases: list[str] = Field(default_factory=lambda: [FIRST_PHASE])  # of this attempt; a rollback keeps them
    active: dict[str, int] = Field(default_factory=dict)  # ailment → the step it began at
    severities: dict[str, str] = Field(default_factory=dict)
    helpless: dict[str, int] = Field(default_factory=dict)  # critical ailment → step since when no remedy is left
    failed: dict[str, list[str]] = Field(default_factory=dict)  # ailment → remedies that did not help
    rejected: list[tuple[str, str]] = Field(default_factory=list)  # (ailment, remedy) that a person rejected
    pending: PendingFollowUp | None = None  # the one intervention that changes how the model learns
    watching: list[PendingFollowUp] = Field(default_factory=list)  # others, of which several may be under way
    awaiting_outcome: list[PendingFollowUp] = Field(
        default_factory=list
    )  # those whose mechanism works, until their outcome
    treated_periods: list[tuple[int, int]] = Field(default_factory=list)  # first and last steps of interventions so far
    n_started: int = 0  # interventions so far
    returning: dict[str, float] = Field(default_factory=dict)  # knob on its way back → its former position
    turned_at: int = 0  # step of the last knob move
    cooldown_until: int = 0
    rollbacks: list[int] = Field(default_factory=list)  # steps of rollbacks that training has not got beyond
    checkpoints: list[int] = Field(default_factory=list)
    saved_knobs: dict[int, dict[str, float]] = Field(default_factory=dict)  # by checkpoint
    rollback_knobs: dict[str, float] = Field(default_factory=dict)  # changes that an ordered rollback will make
    sick_checkpoints: list[int] = Field(default_factory=list)  # saved while an ailment was active
    quarantined: list[str] = Field(default_factory=list)
    quarantined_until: int = -1  # step of the last quarantine
    ended: bool = False
    proposed: dict[int, tuple[str, str]] = Field(default_factory=dict)  # number → (ailment, remedy) not answered yet
    granted: list[tuple[str, str]] = Field(default_factory=list)  # (ailment, remedy) that a person approved
    proposals: int = 0  # number of the latest proposal
    resumed_at: int = 0  # step of the latest resume that changed settings of knobs
    former: dict[str, float] = Field(default_factory=dict)  # their positions before it

    @property
    def phase(self) -> str:
        return self.phases[-1][1]

    def enter_phase(self, phase: str) -> None:
        """Remedies that failed may be tried again in a phase that this attempt enters for the first time."""
        if phase not in self.entered_phases:
            self.entered_phases.append(phase)
            self._allow_failed_remedies()
        self.phases.append((self.step, phase))

    def _allow_failed_remedies(self) -> None:
        """Restarts that failed stay excluded: they lead back to where they began."""
        self.helpless = {}
        self.failed = {ailment: [name for name in names if "restart" in name] for ailment, names in self.failed.items()}

    def mark_failed(self, ailment: str, remedy: str) -> None:
        """Do not try the remedy for this ailment again."""
        self.failed.setdefault(ailment, []).append(remedy)

    def answer_proposal(self, number: int, *, granted: bool) -> None:
        """Record the answer of a person or, after the timeout, the default, unless the ailment has disappeared."""
        proposal = self.proposed.pop(number)
        if proposal[0] in self.active:
            (self.granted if granted else self.rejected).append(proposal)

    def remove_follow_up(self, follow_up: PendingFollowUp) -> None:
        if follow_up is self.pending:
            self.pending = None
        self.watching = [other for other in self.watching if other is not follow_up]
        self.awaiting_outcome = [other for other in self.awaiting_outcome if other is not follow_up]

    def remove_ailment(self, ailment: str) -> None:
        for by_ailment in (self.active, self.severities, self.helpless):
            by_ailment.pop(ailment, None)
        self.granted = [approval for approval in self.granted if approval[0] != ailment]

    def apply_order(self, order: TrainerOrder) -> None:
        """Record the changes that the training loop makes when it carries out an order."""
        self.knobs |= order.knobs
        if order.action == "quarantine":
            self.quarantined += order.utterances
            self.quarantined_until = self.step
        if order.action == "release":
            self.quarantined = [name for name in self.quarantined if name not in order.utterances]
        if order.action == "roll_back":
            self.rollbacks.append(self.step)
            self.rollback_knobs = dict(order.knobs)
        elif order.action == "restart":
            self._restart()
        elif order.action in ("stop", "finish"):
            self.ended = True

    def _restart(self) -> None:
        self.begin = self.step
        self.active, self.severities, self.helpless, self.returning = {}, {}, {}, {}
        self.checkpoints, self.sick_checkpoints, self.rollbacks = [], [], []
        self.granted, self.rejected = [], []
        self._allow_failed_remedies()
        self.entered_phases = [FIRST_PHASE]
        self.phases.append((self.step, FIRST_PHASE))

    def returned_to(self, abandoned: Mapping[str, Any]) -> SupervisorState:
        """The abandoned state, with what has happened since."""
        state = SupervisorState.model_validate(abandoned)
        carried = {name: getattr(self, name) for name in CARRIED_FIELDS}
        failed = {
            ailment: list(dict.fromkeys([*state.failed.get(ailment, ()), *self.failed.get(ailment, ())]))
            for ailment in sorted(state.failed.keys() | self.failed.keys())
        }
        rejected = list(dict.fromkeys([*state.rejected, *self.rejected]))
        periods = [(first, min(last, state.step)) for first, last in self.treated_periods if first <= state.step]
        return state.model_copy(
            update={**carried, "failed": failed, "rejected": rejected, "treated_periods": periods, "pending": None}
        )

    def roll_back(self, step: int) -> None:
        """Forget ailments, checkpoints and phases after this step; interventions and their verdicts stay."""
        self.step = step
        self.phases = [change for change in self.phases if change[0] <= step] or self.phases[:1]
        self.active, self.severities, self.helpless, self.returning = {}, {}, {}, {}
        self.turned_at = min(self.turned_at, step)
        self.quarantined_until = min(self.quarantined_until, step)
        self.knobs |= self.saved_knobs.get(step, {}) | self.rollback_knobs
        self.rollback_knobs = {}
        self.checkpoints = [saved for saved in self.checkpoints if saved <= step]
        self.saved_knobs = {saved: knobs for saved, knobs in self.saved_knobs.items() if saved <= step}
        self.sick_checkpoints = [saved for saved in self.sick_checkpoints if saved <= step]
