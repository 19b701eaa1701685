"""Signals → diagnosis → intervention → follow-up: a function of what it was told, so that replay decides the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitoring.events import ArmSignals
from monitoring.measures.history import SignalHistory
from monitoring.measures.signals import Signals
from reports import TrainerOrder
from smart_tuner.detectors import EVERY_CHECKPOINT, EVERY_EVALUATION, EVERY_STEP, EVERY_TENTH_STEP, Detector
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.outliers import OutlierMemory, Outliers
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import RunView
from smart_tuner.phases import next_phase
from smart_tuner.settings import Settings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.decisions import Decision, decide
from smart_tuner.treatment.follow_up import FollowUpResult, compare, level
from smart_tuner.treatment.forks import judge_forks
from smart_tuner.treatment.knob_moves import go_on_turning
from smart_tuner.treatment.treatment import Treatment, cooldown_steps

EVERY_STEP_AND_TENTH = EVERY_STEP | EVERY_TENTH_STEP


class Supervisor:
    """Decides; touches nothing itself."""

    def __init__(self, facts: RunFacts, settings: Settings, *, advise: bool = False) -> None:
        self.facts, self.settings, self.advise = facts, settings, advise
        self.history, self.outliers = SignalHistory(), OutlierMemory()
        self.state = SupervisorState(knobs={name: knob.start for name, knob in facts.knobs.items()})
        self._treatment = Treatment(settings, advise=advise)

    @property
    def view(self) -> RunView:
        state = self.state
        return RunView(
            step=state.step,
            begin=state.begin,
            history=self.history,
            outliers=self.outliers,
            facts=self.facts,
            quality=self.settings.quality_control,
            phase=state.phase,
            knobs=state.knobs,
            active=state.active,
            helpless=state.helpless,
        )

    def observe_step(self, step: int, signals: Signals, outliers: Outliers | None = None) -> list[Decision]:
        self._take_in(step, signals, outliers or {})
        if self.state.ended:
            return []
        decisions = self._treatment.follow_up_if_due(self.view, self.state, after_evaluation=False)
        decisions += self._examine(EVERY_STEP if step % 10 else EVERY_STEP_AND_TENTH)
        return decisions or go_on_turning(self.facts, self.state, self.settings.supervision)

    def observe_evaluation(self, step: int, signals: Signals) -> list[Decision]:
        self.state.step = step
        self.history.record(step, signals)
        if self.state.ended:
            return []
        decisions = self._change_phase()
        decisions += self._treatment.follow_up_if_due(self.view, self.state, after_evaluation=True)
        return decisions + self._examine(EVERY_EVALUATION)

    def observe_checkpoint(self, step: int, kept: Iterable[int], signals: Signals) -> list[Decision]:
        """Which checkpoints there are, and how much room is left."""
        state = self.state
        state.checkpoints = sorted(kept)
        known = {saved: knobs for saved, knobs in state.saved_knobs.items() if saved in state.checkpoints}
        state.saved_knobs = known | {step: dict(state.knobs)}
        if any(severity != "notice" for severity in self.state.severities.values()):
            self.state.sick_checkpoints.append(step)
        self.history.record(step, signals)
        return [] if self.state.ended else self._examine(EVERY_CHECKPOINT)

    def observe_rollback(self, step: int | None) -> list[Decision]:
        """Training has gone back to the checkpoint of this step; None: it could not."""
        pending = self.state.pending
        if step is not None:
            self._drop_after(step)
            if pending is not None:
                pending.step = step
            return []
        if pending is None:
            return []
        judgement = FollowUpResult("no_effect", None, None, close=False)
        return [self._treatment.conclude(pending, judgement, self.view, self.state, {"usable_checkpoints": 0})]

    def observe_race(self, start: int, arms: Sequence[ArmSignals]) -> tuple[list[Decision], int]:
        """Judge control and treated runs; returns which of them goes on."""
        pending = self.state.pending
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
        self.state.knobs |= arms[winner].knobs
        return [self._treatment.conclude(pending, judgement, self.view, self.state, evidence)], winner

    def observe_turn(self, knob: str, position: float) -> list[Decision]:
        """A person has turned a knob."""
        self.state.returning.pop(knob, None)
        decisions = self._treatment.make_way(self.view, self.state)
        self.state.knobs[knob] = position
        return decisions

    def observe_answer(self, number: int, *, granted: bool) -> None:
        """A person, or the time that has passed, has answered a proposal."""
        self._treatment.answered(number, self.state, granted=granted)

    def _run(self, arm: ArmSignals, start: int, signal: str) -> float | None:
        """Take in an arm as if it had been the run; returns where the signal stood at its end."""
        self._drop_after(start)
        for step, signals in arm.steps:
            self._take_in(step, signals, {})
        if arm.evaluation:
            self.history.record(self.state.step, arm.evaluation)
        return level(self.view, signal)

    def phase_order(self) -> TrainerOrder:
        """What the present phase makes of the schedules; also for a training loop that has just been resumed."""
        targets = self.settings.phases.of(self.state.phase).model_dump(exclude={"latest_epoch", "rollbacks"})
        return TrainerOrder("enter_phase", phase=self.state.phase, targets={k: float(v) for k, v in targets.items()})

    def _take_in(self, step: int, signals: Signals, outliers: Outliers) -> None:
        state = self.state
        state.step, state.work_steps = step, state.work_steps + 1
        if "nonfinite_steps" not in signals:
            loss = signals.get("total_loss")
            state.nonfinite_steps += loss is None or not math.isfinite(loss)
            signals = {**signals, "nonfinite_steps": float(state.nonfinite_steps)}
        self.history.record(step, signals)
        self.outliers.record(step, outliers)
        if state.rollbacks and step > state.rollbacks[0] + self._cooldown_steps():
            state.rollbacks = []  # training is beyond the place of the first

    def _drop_after(self, step: int) -> None:
        self.history.drop_after(step)
        self.state.go_back(step)
        self.state.cooldown_until = step + self._cooldown_steps()

    def _cooldown_steps(self) -> int:
        return cooldown_steps(self.view, self.settings.supervision)

    def _change_phase(self) -> list[Decision]:
        change = next_phase(self.view, self.settings.phases)
        if change is None:
            return []
        fields = {"from": self.state.phase, "to": change.phase, "signals": dict(change.why)}
        self.state.phases.append((self.state.step, change.phase))
        orders = (self.phase_order(),) if "enter_phase" in self.facts.actions else ()
        return [decide(self.state, "phase", fields, *orders)]

    def _examine(self, detectors: Mapping[str, Detector]) -> list[Decision]:
        """Write down what is new, forget what has healed, treat what is worth it."""
        view, state = self.view, self.state
        decisions, treatable = [], []
        for ailment, detect in detectors.items():
            diagnosis = detect(view)
            if diagnosis is None:
                state.healed(ailment)
                continue
            if state.severities.get(ailment) != diagnosis.severity:
                decisions.append(decide(state, "diagnosis", _told(diagnosis)))
            state.active.setdefault(ailment, diagnosis.since)
            state.severities[ailment] = diagnosis.severity
            if diagnosis.severity != "notice":
                treatable.append(diagnosis)
        treated = self._treatment.treat(treatable, self.view, state)
        for order in (order for decision in treated for order in decision.orders if order.action == "restart"):
            self.facts = self.facts.amended(order.hparams)
        return decisions + treated

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history.state_dict(),
            "outliers": self.outliers.state_dict(),
            "memory": self.state.model_dump(mode="json"),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.history.load_state_dict(saved["history"])
        self.outliers.load_state_dict(saved["outliers"])
        starts = self.state.knobs  # there may be knobs by now that it did not know
        self.state = SupervisorState.model_validate(saved["memory"])
        self.state.knobs = starts | self.state.knobs
        self.state.ended = False  # who goes on with a run that was ended wants it looked after again


def _told(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as the journal has it."""
    return {
        "ailment": diagnosis.ailment,
        "severity": diagnosis.severity,
        "since": diagnosis.since,
        "evidence": dict(diagnosis.evidence),
        **({"utterances": list(diagnosis.utterances)} if diagnosis.utterances else {}),
    }
