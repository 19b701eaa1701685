"""A training loop without a model: a function makes its signals, and its journal stays in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from monitoring.events import ArmSignals
from monitoring.measures.signals import Signals
from reports import TrainerOrder
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.replay import Replay
from smart_tuner.runtime import SupervisorRuntime
from smart_tuner.settings import Settings
from smart_tuner.supervisor import DECISION_VERSION, Supervisor

ACTIONS = (
    *("turn", "rerun_step", "quarantine", "screen", "reset_moments", "roll_back", "restart", "race"),
    *("keep_fewer_checkpoints", "fetch_faster", "enter_phase", "finish", "stop"),
)
SIZES: Signals = {"disk_free_bytes": 1e12, "checkpoint_bytes": 1e8}

Trace = Callable[[int, int], tuple[Signals, Signals, Mapping[str, float | None]]]
"""(step, number of steps done before it) → signals of the step, signals of an evaluation at it, outliers."""


@dataclass
class SimulatedLoop:
    """Executes orders like a trainer, and records what a run's journal would contain."""

    facts: RunFacts
    trace: Trace
    settings: Settings = field(default_factory=Settings)
    advise: bool = False
    actions: Sequence[str] = ACTIONS
    records: list[dict[str, Any]] = field(default_factory=list)
    orders: list[tuple[int, TrainerOrder]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.step, self.work, self.ended = 0, 0, False
        self.checkpoints: list[int] = []
        self.knobs = {name: knob.start for name, knob in self.facts.knobs.items()}
        self.saved_knobs: dict[int, dict[str, float]] = {}
        self.turns: list[tuple[str, float, float]] = []  # knob, from, to
        self.pending_moves: list[TrainerOrder] = []
        self.supervisor = Supervisor(self.facts, self.settings, advise=self.advise)
        self.runtime = SupervisorRuntime(self.supervisor, self, on_decision=self._on_decision)
        inputs = {"facts": self.facts.model_dump(mode="json"), "settings": self.settings.model_dump(mode="json")}
        self.record(
            "started",
            supervision={**inputs, "version": DECISION_VERSION, "mode": "advise" if self.advise else "on", "knobs": {}},
        )

    def record(self, kind: str, **fields: Any) -> None:
        self.records.append(json.loads(json.dumps({"kind": kind, "step": self.step, **fields})))

    def _on_decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
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
            self.pending_moves.append(order)
        self.ended = self.ended or order.action in ("finish", "stop")

    def run(self, n_steps: int) -> None:
        """Train until so many steps were done in all, repeated ones included."""
        while self.work < n_steps and not self.ended:
            self._do_step()
            while self.pending_moves:
                self._move(self.pending_moves.pop(0))

    def _do_step(self) -> None:
        self.step += 1
        signals, evaluation, outliers = self.trace(self.step, self.work)
        self.work += 1
        columns = {name: [value] for name, value in signals.items()}
        self.record("steps", steps=[self.step], signals=columns, outliers={str(self.step): dict(outliers)})
        self.runtime.on_step(self.step, signals, outliers)
        if self.step % self.facts.steps_per_evaluation == 0 and not self.pending_moves:
            self.record("evaluation", signals=evaluation)
            self.runtime.on_evaluation(self.step, evaluation)
        if self.step % self.facts.steps_per_evaluation == 0 and not self.pending_moves:
            self._save()

    def _save(self) -> None:
        self.checkpoints = [*[step for step in self.checkpoints if step < self.step][-3:], self.step]
        self.saved_knobs[self.step] = dict(self.knobs)
        self.record("checkpoint", kept=self.checkpoints, signals=SIZES)
        self.runtime.on_checkpoint(self.step, self.checkpoints, SIZES)

    def _move(self, order: TrainerOrder) -> None:
        if order.action == "roll_back":
            self.step = order.step
            self.checkpoints = [step for step in self.checkpoints if step <= order.step]
            self.knobs = self.saved_knobs[order.step] | dict(order.knobs)
            self.record("rolled_back", to=order.step)
            self.runtime.on_rollback(order.step)
        else:
            arms = [self._arm(order, number) for number in range(len(order.arms))]
            recorded = [
                {
                    "knobs": dict(arm.knobs),
                    "steps": [step for step, _ in arm.steps],
                    "signals": {name: [signals[name] for _, signals in arm.steps] for name in arm.steps[0][1]},
                    "evaluation": arm.evaluation,
                    "distances": arm.distances,
                }
                for arm in arms
            ]
            self.record("race", from_step=order.step, arms=recorded)
            winner = self.runtime.on_race(order.step, arms)
            self.knobs = self.saved_knobs[order.step] | dict(arms[winner].knobs) | self._turned_since(order)
            self.step = order.step + order.n_steps
            self.checkpoints = [step for step in self.checkpoints if step <= order.step]
        self._save()

    def _turned_since(self, race: TrainerOrder) -> dict[str, float]:
        """Knob positions ordered after the race, together with its verdict."""
        orders = [order for _, order in self.orders]
        later = orders[orders.index(race) + 1 :]
        return {name: value for order in later if order.action == "turn" for name, value in order.knobs.items()}

    def _arm(self, order: TrainerOrder, number: int) -> ArmSignals:
        """Train an arm; its speech differs from that of other arms by noise."""
        noise, steps = np.random.default_rng([order.step, number]), []
        distances = {f"u{i}": 0.5 * float(np.exp(noise.normal(0, 0.02))) for i in range(8)}
        for step in range(order.step + 1, order.step + order.n_steps + 1):
            steps.append((step, self.trace(step, self.work)[0]))
            self.work += 1
        evaluation = self.trace(order.step + order.n_steps, self.work)[1]
        return ArmSignals(order.arms[number], tuple(steps), evaluation, distances)


def replay_records(records: Sequence[Mapping[str, Any]], settings: Settings | None = None) -> Replay:
    replayed = Replay(settings)
    for record in records:
        replayed.on_record(record)
    return replayed
