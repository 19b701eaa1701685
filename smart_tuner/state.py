"""What a supervisor remembers of its own doing; a rollback of the training does not roll this back."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from reports import TrainerOrder
from smart_tuner.phases import FIRST_PHASE
from smart_tuner.treatment.interventions import Expectation


class PendingFollowUp(BaseModel):
    """An intervention that waits for its verdict; a knob still on its way has `target` ahead of its position."""

    model_config = ConfigDict(extra="forbid")

    ailment: str
    remedy: str
    step: int
    expected: Expectation
    knob: str | None = None
    before: float | None = None
    target: float | None = None
    racing: bool = False
    known: list[str] = Field(default_factory=list)  # ailments there were when it began


class SupervisorState(BaseModel):
    """All but the signals; plain values, so that it fits into checkpoints."""

    model_config = ConfigDict(extra="forbid")

    knobs: dict[str, float]
    step: int = 0
    begin: int = 0
    work_steps: int = 0
    nonfinite_steps: int = 0  # counted here when the training loop does not
    interventions: int = 0
    phases: list[tuple[int, str]] = Field(default_factory=lambda: [(0, FIRST_PHASE)])
    active: dict[str, int] = Field(default_factory=dict)
    severities: dict[str, str] = Field(default_factory=dict)
    helpless: dict[str, int] = Field(default_factory=dict)
    failed: dict[str, list[str]] = Field(default_factory=dict)
    rejected: list[tuple[str, str]] = Field(default_factory=list)  # ailment and remedy a person did not want
    pending: PendingFollowUp | None = None  # the one treatment that steers
    watching: list[PendingFollowUp] = Field(default_factory=list)  # those that steer nothing, so that several may go on
    returning: dict[str, float] = Field(default_factory=dict)  # knobs on their way back: name → where to
    turned_at: int = 0
    cooldown_until: int = 0
    rollbacks: list[int] = Field(default_factory=list)  # where they were ordered, since the last progress
    checkpoints: list[int] = Field(default_factory=list)
    saved_knobs: dict[int, dict[str, float]] = Field(default_factory=dict)  # by checkpoint
    rollback_knobs: dict[str, float] = Field(default_factory=dict)  # what a rollback on its way will change of them
    sick_checkpoints: list[int] = Field(default_factory=list)
    quarantined: list[str] = Field(default_factory=list)
    quarantined_until: int = -1
    ended: bool = False
    proposed: dict[int, tuple[str, str]] = Field(default_factory=dict)  # number → ailment and remedy, not answered yet
    granted: list[tuple[str, str]] = Field(default_factory=list)
    proposals: int = 0  # the number of the latest

    @property
    def phase(self) -> str:
        return self.phases[-1][1]

    def fail(self, ailment: str, remedy: str) -> None:
        """This remedy is not to be tried again for it."""
        self.failed.setdefault(ailment, []).append(remedy)

    def close(self, pending: PendingFollowUp) -> None:
        """Its verdict is known."""
        if pending is self.pending:
            self.pending = None
        else:
            self.watching = [other for other in self.watching if other is not pending]

    def healed(self, ailment: str) -> None:
        for kept in (self.active, self.severities, self.helpless):
            kept.pop(ailment, None)
        self.granted = [wish for wish in self.granted if wish[0] != ailment]

    def take_in(self, order: TrainerOrder) -> None:
        """What carrying out an order will change."""
        self.knobs |= order.knobs
        if order.action == "quarantine":
            self.quarantined += order.utterances
            self.quarantined_until = self.step
        if order.action == "roll_back":
            self.rollbacks.append(self.step)
            self.rollback_knobs = dict(order.knobs)
        elif order.action == "restart":
            self._begin_anew()
        elif order.action in ("stop", "finish"):
            self.ended = True

    def _begin_anew(self) -> None:
        self.begin = self.step
        self.active, self.severities, self.helpless, self.returning = {}, {}, {}, {}
        self.checkpoints, self.sick_checkpoints, self.rollbacks = [], [], []
        self.granted, self.rejected = [], []
        self.failed = {ailment: [name for name in names if "restart" in name] for ailment, names in self.failed.items()}
        self.phases.append((self.step, FIRST_PHASE))

    def go_back(self, step: int) -> None:
        """Training went back to a step: what was seen after it is gone, what was done is not."""
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
