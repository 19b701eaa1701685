"""A training loop without a model: its signals come from a function, its journal stays in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitoring.events import ArmSignals
from monitoring.measures.signals import Signals
from reports import TrainerOrder
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.runtime import SupervisorRuntime
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor

ACTIONS = (
    *("turn", "rerun_step", "quarantine", "screen", "reset_moments", "roll_back", "restart", "race"),
    *("keep_fewer_checkpoints", "fetch_faster", "enter_phase", "finish", "stop"),
)
SIZES: Signals = {"disk_free_bytes": 1e12, "checkpoint_bytes": 1e8}

Trace = Callable[[int, int], tuple[Signals, Signals, Mapping[str, float | None]]]
"""(step, how many steps were done before it) → signals of the step, of an evaluation there, outliers."""


@dataclass
class SimulatedLoop:
    """Carries out orders as a real loop does, and writes down what a run's journal would hold."""

    facts: RunFacts
    trace: Trace
    settings: Settings = field(default_factory=Settings)
    advise: bool = False
    actions: Sequence[str] = ACTIONS
    records: list[dict[str, Any]] = field(default_factory=list)
    orders: list[tuple[int, TrainerOrder]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.step, self.work, self.ended = 0, 0, False
        self.kept: list[int] = []
        self.knobs = {name: knob.start for name, knob in self.facts.knobs.items()}
        self.saved_knobs: dict[int, dict[str, float]] = {}
        self.turns: list[tuple[str, float, float]] = []  # knob, from, to
        self.moves: list[TrainerOrder] = []
        self.supervisor = Supervisor(self.facts, self.settings, advise=self.advise)
        self.supervision = SupervisorRuntime(self.supervisor, self, on_decision=self.tell)
        given = {"facts": self.facts.model_dump(mode="json"), "settings": self.settings.model_dump(mode="json")}
        self.record("started", supervision={**given, "mode": "advise" if self.advise else "on", "knobs": {}})

    def record(self, kind: str, **fields: Any) -> None:
        self.records.append(json.loads(json.dumps({"kind": kind, "step": self.step, **fields})))

    def tell(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        self.records.append(json.loads(json.dumps({"kind": kind, "step": step, **fields})))

    def decisions(self, *kinds: str) -> list[dict[str, Any]]:
        wanted = kinds or ("phase", "diagnosis", "intervention", "follow_up")
        return [record for record in self.records if record["kind"] in wanted]

    def execute(self, order: TrainerOrder) -> None:
        self.orders.append((self.step, order))
        if order.action == "turn":
            self.turns += [(name, self.knobs[name], value) for name, value in order.knobs.items()]
        if order.action in ("turn", "restart"):
            self.knobs |= order.knobs
        if order.action in ("roll_back", "race"):
            self.moves.append(order)
        self.ended = self.ended or order.action in ("finish", "stop")

    def run(self, n_steps: int) -> None:
        """At most so many steps in all, those done again included."""
        while self.work < n_steps and not self.ended:
            self._do_step()
            while self.moves:
                self._move(self.moves.pop(0))

    def _do_step(self) -> None:
        self.step += 1
        signals, evaluation, outliers = self.trace(self.step, self.work)
        self.work += 1
        columns = {name: [value] for name, value in signals.items()}
        self.record("steps", steps=[self.step], signals=columns, outliers={str(self.step): dict(outliers)})
        self.supervision.on_step(self.step, signals, outliers)
        if self.step % self.facts.steps_per_evaluation == 0 and not self.moves:
            self.record("evaluation", signals=evaluation)
            self.supervision.on_evaluation(self.step, evaluation)
        if self.step % self.facts.steps_per_evaluation == 0 and not self.moves:
            self._save()

    def _save(self) -> None:
        self.kept = [*[step for step in self.kept if step < self.step][-3:], self.step]
        self.saved_knobs[self.step] = dict(self.knobs)
        self.record("checkpoint", kept=self.kept, signals=SIZES)
        self.supervision.on_checkpoint(self.step, self.kept, SIZES)

    def _move(self, order: TrainerOrder) -> None:
        if order.action == "roll_back":
            self.step = order.step
            self.kept = [step for step in self.kept if step <= order.step]
            self.knobs = self.saved_knobs[order.step] | dict(order.knobs)
            self.record("rolled_back", to=order.step)
            self.supervision.on_rollback(order.step)
        else:
            arms = [self._arm(order, knobs) for knobs in order.arms]
            told = [
                {
                    "knobs": dict(arm.knobs),
                    "steps": [step for step, _ in arm.steps],
                    "signals": {name: [signals[name] for _, signals in arm.steps] for name in arm.steps[0][1]},
                    "evaluation": arm.evaluation,
                }
                for arm in arms
            ]
            self.record("race", from_step=order.step, arms=told)
            winner = self.supervision.on_race(order.step, arms)
            self.knobs = self.saved_knobs[order.step] | dict(arms[winner].knobs) | self._turned_since(order)
            self.step = order.step + order.n_steps
            self.kept = [step for step in self.kept if step <= order.step]
        self._save()

    def _turned_since(self, race: TrainerOrder) -> dict[str, float]:
        """What was turned when the verdict on the race was known."""
        last = [order for _, order in self.orders]
        later = last[last.index(race) + 1 :]
        return {name: value for order in later if order.action == "turn" for name, value in order.knobs.items()}

    def _arm(self, order: TrainerOrder, knobs: Mapping[str, float]) -> ArmSignals:
        steps = []
        for step in range(order.step + 1, order.step + order.n_steps + 1):
            steps.append((step, self.trace(step, self.work)[0]))
            self.work += 1
        return ArmSignals(knobs, tuple(steps), self.trace(order.step + order.n_steps, self.work)[1])
