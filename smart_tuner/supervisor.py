"""Signals → diagnosis → intervention → follow-up: a function of what it was told, so that replay decides the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitoring.measures.history import SignalHistory
from monitoring.measures.signals import Signals
from reports import TrainerOrder
from smart_tuner.detectors import EVERY_CHECKPOINT, EVERY_EVALUATION, EVERY_STEP, EVERY_TENTH_STEP, Detector
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import OutlierMemory, Outliers
from smart_tuner.inputs.run_facts import Facts
from smart_tuner.inputs.view import View
from smart_tuner.phases import next_phase
from smart_tuner.settings import Settings
from smart_tuner.state import Memory
from smart_tuner.treatment.decisions import Decision, decide
from smart_tuner.treatment.follow_up import Judgement, compare, level
from smart_tuner.treatment.forks import judge_forks
from smart_tuner.treatment.knob_moves import go_on_turning
from smart_tuner.treatment.treatment import Treatment, cooldown_steps

EVERY_STEP_AND_TENTH = EVERY_STEP | EVERY_TENTH_STEP


@dataclass(frozen=True)
class Arm:
    """One contender of a race: its knobs, its steps and how it was evaluated at the end."""

    knobs: Mapping[str, float]
    steps: tuple[tuple[int, Signals], ...]
    evaluation: Signals = field(default_factory=dict)


class Supervisor:
    """Decides; touches nothing itself."""

    def __init__(self, facts: Facts, settings: Settings, *, advise: bool = False) -> None:
        self.facts, self.settings, self.advise = facts, settings, advise
        self.history, self.outliers = SignalHistory(), OutlierMemory()
        self.memory = Memory(knobs={name: knob.start for name, knob in facts.knobs.items()})
        self._treatment = Treatment(settings, advise=advise)

    @property
    def view(self) -> View:
        memory = self.memory
        return View(
            step=memory.step,
            begin=memory.begin,
            history=self.history,
            outliers=self.outliers,
            facts=self.facts,
            quality=self.settings.quality_control,
            phase=memory.phase,
            knobs=memory.knobs,
            active=memory.active,
            helpless=memory.helpless,
        )

    def observe_step(self, step: int, signals: Signals, outliers: Outliers | None = None) -> list[Decision]:
        self._take_in(step, signals, outliers or {})
        if self.memory.ended:
            return []
        decisions = self._treatment.follow_up_if_due(self.view, self.memory, after_evaluation=False)
        decisions += self._examine(EVERY_STEP if step % 10 else EVERY_STEP_AND_TENTH)
        return decisions or go_on_turning(self.facts, self.memory, self.settings.supervision)

    def observe_evaluation(self, step: int, signals: Signals) -> list[Decision]:
        self.memory.step = step
        self.history.record(step, signals)
        if self.memory.ended:
            return []
        decisions = self._change_phase()
        decisions += self._treatment.follow_up_if_due(self.view, self.memory, after_evaluation=True)
        return decisions + self._examine(EVERY_EVALUATION)

    def observe_checkpoint(self, step: int, kept: Iterable[int], signals: Signals) -> list[Decision]:
        """Which checkpoints there are, and how much room is left."""
        memory = self.memory
        memory.checkpoints = sorted(kept)
        known = {saved: knobs for saved, knobs in memory.saved_knobs.items() if saved in memory.checkpoints}
        memory.saved_knobs = known | {step: dict(memory.knobs)}
        if any(severity != "notice" for severity in self.memory.severities.values()):
            self.memory.sick_checkpoints.append(step)
        self.history.record(step, signals)
        return [] if self.memory.ended else self._examine(EVERY_CHECKPOINT)

    def observe_rollback(self, step: int | None) -> list[Decision]:
        """Training has gone back to the checkpoint of this step; None: it could not."""
        pending = self.memory.pending
        if step is not None:
            self._forget_after(step)
            if pending is not None:
                pending.step = step
            return []
        if pending is None:
            return []
        judgement = Judgement("no_effect", None, None, close=False)
        return [self._treatment.conclude(pending, judgement, self.view, self.memory, {"usable_checkpoints": 0})]

    def observe_race(self, start: int, arms: Sequence[Arm]) -> tuple[list[Decision], int]:
        """Judge control and treated runs; returns which of them goes on."""
        pending = self.memory.pending
        assert pending is not None and pending.racing, "a race is run only when the supervisor asked for it"
        values = [self._run(arm, start, pending.expected.signal) for arm in arms]
        if len(arms) == 2:
            control, treated = values
            judgement = compare(pending.expected, control, treated, self.facts)
            winner = 1 if judgement.verdict == "helped" else 0
            evidence = {"control": control, "treated": treated, "from_step": start}
        else:
            forked = judge_forks(pending.expected, values, self.facts)
            judgement, winner = forked.judgement, forked.winner
            evidence = {"control": values[0], "noise": forked.noise, "winner": winner, "from_step": start}
        self._run(arms[winner], start, pending.expected.signal)
        self.memory.knobs |= arms[winner].knobs
        return [self._treatment.conclude(pending, judgement, self.view, self.memory, evidence)], winner

    def observe_turn(self, knob: str, position: float) -> list[Decision]:
        """A person has turned a knob."""
        self.memory.returning.pop(knob, None)
        decisions = self._treatment.make_way(self.view, self.memory)
        self.memory.knobs[knob] = position
        return decisions

    def observe_answer(self, number: int, *, granted: bool) -> None:
        """A person, or the time that has passed, has answered a proposal."""
        self._treatment.answered(number, self.memory, granted=granted)

    def _run(self, arm: Arm, start: int, signal: str) -> float | None:
        """Take in an arm as if it had been the run; returns where the signal stood at its end."""
        self._forget_after(start)
        for step, signals in arm.steps:
            self._take_in(step, signals, {})
        if arm.evaluation:
            self.history.record(self.memory.step, arm.evaluation)
        return level(self.view, signal)

    def phase_order(self) -> TrainerOrder:
        """What the present phase makes of the schedules; also for a training loop that has just been resumed."""
        targets = self.settings.phases.of(self.memory.phase).model_dump(exclude={"latest_epoch", "rollbacks"})
        return TrainerOrder("enter_phase", phase=self.memory.phase, targets={k: float(v) for k, v in targets.items()})

    def _take_in(self, step: int, signals: Signals, outliers: Outliers) -> None:
        memory = self.memory
        memory.step, memory.work_steps = step, memory.work_steps + 1
        if "nonfinite_steps" not in signals:
            loss = signals.get("total_loss")
            memory.nonfinite_steps += loss is None or not math.isfinite(loss)
            signals = {**signals, "nonfinite_steps": float(memory.nonfinite_steps)}
        self.history.record(step, signals)
        self.outliers.record(step, outliers)
        if memory.rollbacks and step > memory.rollbacks[0] + self._cooldown_steps():
            memory.rollbacks = []  # training is beyond the place of the first

    def _forget_after(self, step: int) -> None:
        self.history.forget_after(step)
        self.memory.go_back(step)
        self.memory.cooldown_until = step + self._cooldown_steps()

    def _cooldown_steps(self) -> int:
        return cooldown_steps(self.view, self.settings.supervision)

    def _change_phase(self) -> list[Decision]:
        change = next_phase(self.view, self.settings.phases)
        if change is None:
            return []
        fields = {"from": self.memory.phase, "to": change.phase, "signals": dict(change.why)}
        self.memory.phases.append((self.memory.step, change.phase))
        orders = (self.phase_order(),) if "enter_phase" in self.facts.actions else ()
        return [decide(self.memory, "phase", fields, *orders)]

    def _examine(self, detectors: Mapping[str, Detector]) -> list[Decision]:
        """Write down what is new, forget what has healed, treat what is worth it."""
        view, memory = self.view, self.memory
        decisions, treatable = [], []
        for ailment, detect in detectors.items():
            diagnosis = detect(view)
            if diagnosis is None:
                memory.healed(ailment)
                continue
            if memory.severities.get(ailment) != diagnosis.severity:
                decisions.append(decide(memory, "diagnosis", _told(diagnosis)))
            memory.active.setdefault(ailment, diagnosis.since)
            memory.severities[ailment] = diagnosis.severity
            if diagnosis.severity != "notice":
                treatable.append(diagnosis)
        treated = self._treatment.treat(treatable, self.view, memory)
        for order in (order for decision in treated for order in decision.orders if order.action == "restart"):
            self.facts = self.facts.amended(order.hparams)
        return decisions + treated

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history.state_dict(),
            "outliers": self.outliers.state_dict(),
            "memory": self.memory.model_dump(mode="json"),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        self.outliers.load_state_dict(state["outliers"])
        starts = self.memory.knobs  # there may be knobs by now that it did not know
        self.memory = Memory.model_validate(state["memory"])
        self.memory.knobs = starts | self.memory.knobs
        self.memory.ended = False  # who goes on with a run that was ended wants it looked after again


def _told(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as the journal has it."""
    return {
        "ailment": diagnosis.ailment,
        "severity": diagnosis.severity,
        "since": diagnosis.since,
        "evidence": dict(diagnosis.evidence),
        **({"utterances": list(diagnosis.utterances)} if diagnosis.utterances else {}),
    }
