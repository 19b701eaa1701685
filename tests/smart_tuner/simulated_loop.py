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
    *("turn", "rerun_step", "quarantine", "release", "screen", "reset_moments", "roll_back", "restart", "race"),
    *("keep_fewer_checkpoints", "fetch_faster", "enter_phase", "finish", "stop"),
)
SIZES: Signals = {"disk_free_bytes": 1e12, "checkpoint_bytes": 1e8}
FULL_DISK: Signals = {"disk_free_bytes": 1e8, "checkpoint_bytes": 1e8}

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
    sizes: Signals = field(default_factory=lambda: SIZES)  # on disk, at each checkpoint
    left_distance: float | None = 0.5  # of what a rollback or restart has left; None: it cannot be read
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

    @property
    def odd_utterances(self) -> tuple[str, ...]:
        """Training utterances that stand apart as a group."""
        return ()

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
        if order.action in ("roll_back", "restart"):
            self.left = (self.step, dict(self.knobs))
        if order.action in ("roll_back", "race", "try_abandoned"):
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
            distances = _noisy_distances(0.5, [self.step])
            utterances = [{"id": id_, "mel_distance": value} for id_, value in distances.items()]
            self.record("evaluation", signals=evaluation, odd_utterances=self.odd_utterances, utterances=utterances)
            self.runtime.on_evaluation(self.step, evaluation, distances, self.odd_utterances)
        if self.step % self.facts.steps_per_evaluation == 0 and not self.pending_moves:
            self._save()

    def _save(self) -> None:
        self.checkpoints = [*[step for step in self.checkpoints if step < self.step][-3:], self.step]
        self.saved_knobs[self.step] = dict(self.knobs)
        self.record("checkpoint", kept=self.checkpoints, signals=self.sizes)
        self.runtime.on_checkpoint(self.step, self.checkpoints, self.sizes)

    def _move(self, order: TrainerOrder) -> None:
        if order.action == "roll_back":
            self.step = order.step
            self.checkpoints = [step for step in self.checkpoints if step <= order.step]
            self.knobs = self.saved_knobs[order.step] | dict(order.knobs)
            self.record("rolled_back", to=order.step)
            self.runtime.on_rollback(order.step)
        elif order.action == "try_abandoned":
            self._try_abandoned(order)
        else:
            arms = [self._arm(order, number) for number in range(len(order.arms))]
            self.record("race", from_step=order.step, arms=[_recorded(arm) for arm in arms])
            winner = self.runtime.on_race(order.step, arms)
            self.knobs = self.saved_knobs[order.step] | dict(arms[winner].knobs) | self._turned_since(order)
            self.step = order.step + order.n_steps
            self.checkpoints = [step for step in self.checkpoints if step <= order.step]
        self._save()

    def _try_abandoned(self, order: TrainerOrder) -> None:
        step, knobs = self.left
        assert order.step == step, "what was left is that of the last move"
        if self.left_distance is None:
            self.record("abandoned", from_step=step, arm=None, problem="the file is damaged")
            self.runtime.on_abandoned(step, None)
            return
        arm = self._train_arm(step, order.n_steps, number=0, distance=self.left_distance, knobs=knobs)
        self.record("abandoned", from_step=step, arm=_recorded(arm), problem="")
        if self.runtime.on_abandoned(step, arm):
            self.step, self.knobs = step + order.n_steps, knobs
            self.checkpoints = [saved for saved in self.checkpoints if saved <= step]
            self._record_return(step, arm)

    def _record_return(self, step: int, arm: ArmSignals) -> None:
        recorded = _recorded(arm)
        self.records.append({"kind": "rolled_back", "step": step, "to": step, "returned": True})
        if arm.steps:
            fields = {name: recorded[name] for name in ("steps", "signals")}
            self.records.append({"kind": "steps", "step": arm.steps[-1][0], "returned": True, **fields})
        self.record("evaluation", signals=arm.evaluation, returned=True)

    def _turned_since(self, race: TrainerOrder) -> dict[str, float]:
        """Knob positions ordered after the race, together with its verdict."""
        orders = [order for _, order in self.orders]
        later = orders[orders.index(race) + 1 :]
        return {name: value for order in later if order.action == "turn" for name, value in order.knobs.items()}

    def _arm(self, order: TrainerOrder, number: int) -> ArmSignals:
        return self._train_arm(order.step, order.n_steps, number=number, distance=0.5, knobs=order.arms[number])

    def _train_arm(
        self, start: int, n_steps: int, *, number: int, distance: float, knobs: Mapping[str, float]
    ) -> ArmSignals:
        """Train an arm; its speech differs from that of equal arms by noise."""
        steps = []
        for step in range(start + 1, start + n_steps + 1):
            steps.append((step, self.trace(step, self.work)[0]))
            self.work += 1
        evaluation = self.trace(start + n_steps, self.work)[1]
        return ArmSignals(knobs, tuple(steps), evaluation, _noisy_distances(distance, [start, number]))


def _noisy_distances(level: float, seed: list[int]) -> dict[str, float]:
    noise = np.random.default_rng(seed)
    return {f"u{i}": level * float(np.exp(noise.normal(0, 0.02))) for i in range(8)}


def _recorded(arm: ArmSignals) -> dict[str, Any]:
    names = arm.steps[0][1] if arm.steps else {}
    return {
        "knobs": dict(arm.knobs),
        "steps": [step for step, _ in arm.steps],
        "signals": {name: [signals[name] for _, signals in arm.steps] for name in names},
        "evaluation": arm.evaluation,
        "distances": arm.distances,
    }


def replay_records(records: Sequence[Mapping[str, Any]], settings: Settings | None = None) -> Replay:
    replayed = Replay(settings)
    for record in records:
        replayed.on_record(record)
    return replayed
