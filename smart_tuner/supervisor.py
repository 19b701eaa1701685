"""The supervisor: signals → diagnosis → intervention → follow-up, without side effects, so that it can be replayed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitoring.events import ArmSignals
from monitoring.measures.history import SignalHistory
from monitoring.measures.signals import Signals
from reports import TrainerOrder
from smart_tuner.detectors import EVERY_CHECKPOINT, EVERY_EVALUATION, EVERY_STEP, EVERY_TENTH_STRIDE, Detector
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.held_out import DistanceHistory
from smart_tuner.inputs.outliers import OutlierHistory, Outliers
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import RunView
from smart_tuner.phases import next_phase
from smart_tuner.settings import Settings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.decisions import Decision, make_decision
from smart_tuner.treatment.follow_up import cooldown_steps
from smart_tuner.treatment.interventions import WEIGHT_CHANGES
from smart_tuner.treatment.knob_moves import continue_moves
from smart_tuner.treatment.lifecycle import MACHINE_AILMENTS, InterventionLifecycle
from smart_tuner.treatment.verdicts.judgement import Judgement

DECISION_VERSION = 2
"""Recorded in journals; another version may decide otherwise from the same signals."""
EVERY_STEP_AND_TENTH = EVERY_STEP | EVERY_TENTH_STRIDE


class Supervisor:
    """Turns observations into decisions; it changes nothing but its own state."""

    def __init__(self, facts: RunFacts, settings: Settings, *, advise: bool = False) -> None:
        self.facts, self.settings, self.advise = facts, settings, advise
        self.history, self.outliers, self.distances = SignalHistory(), OutlierHistory(), DistanceHistory()
        self.odd_utterances: tuple[str, ...] = ()  # of the latest evaluation
        self._abandoned: dict[str, Any] | None = None  # own state when the pending rollback or restart began
        self.state = SupervisorState(knobs={name: knob.start for name, knob in facts.knobs.items()})
        self._lifecycle = InterventionLifecycle(settings, advise=advise)
        self._follow_ups = self._lifecycle.follow_ups

    @property
    def view(self) -> RunView:
        state = self.state
        return RunView(
            step=state.step,
            attempt_start=state.begin,
            history=self.history,
            outliers=self.outliers,
            facts=self.facts,
            quality=self.settings.quality_control,
            phase=state.phase,
            knobs=state.knobs,
            active=state.active,
            untreatable=state.helpless,
            distances=self.distances,
            odd_utterances=self.odd_utterances,
        )

    def observe_step(self, step: int, signals: Signals, outliers: Outliers | None = None) -> list[Decision]:
        self._record_step(step, signals, outliers or {})
        if self.state.ended:
            return []
        decisions = self._follow_ups.judge_due(self.view, self.state, after_evaluation=False)
        is_tenth_stride = step % (10 * self.facts.stride_steps) == 0
        decisions += self._examine(EVERY_STEP_AND_TENTH if is_tenth_stride else EVERY_STEP)
        return decisions or continue_moves(self.facts, self.state, self.settings.supervision)

    def observe_evaluation(
        self,
        step: int,
        signals: Signals,
        distances: Mapping[str, float] | None = None,
        odd_utterances: Sequence[str] = (),
    ) -> list[Decision]:
        """`distances`: of what is said from the recording, by held-out utterance."""
        self.state.step = step
        self.history.record(step, signals)
        self.distances.record(step, distances or {})
        self.odd_utterances = tuple(odd_utterances)
        if self.state.ended:
            return []
        decisions = self._change_phase()
        decisions += self._follow_ups.judge_due(self.view, self.state, after_evaluation=True)
        return decisions + self._examine(EVERY_EVALUATION)

    def observe_checkpoint(self, step: int, kept_steps: Iterable[int], signals: Signals) -> list[Decision]:
        """A checkpoint was saved: `kept_steps` are those of all on disk, the signals sizes on disk."""
        state = self.state
        state.checkpoints = sorted(kept_steps)
        saved_knobs = {saved: knobs for saved, knobs in state.saved_knobs.items() if saved in state.checkpoints}
        state.saved_knobs = saved_knobs | {step: dict(state.knobs)}
        of_the_model = {
            ailment: severity for ailment, severity in state.severities.items() if ailment not in MACHINE_AILMENTS
        }
        if any(severity != "notice" for severity in of_the_model.values()):
            state.sick_checkpoints.append(step)
        self.history.record(step, signals)
        return [] if state.ended else self._examine(EVERY_CHECKPOINT)

    def observe_rollback(self, step: int | None) -> list[Decision]:
        """Training went back to the checkpoint of this step; None: no checkpoint could be read."""
        pending = self.state.pending
        if step is not None:
            self._discard_after(step)
            if pending is not None:
                pending.step = step
            return []
        if pending is None:
            return []
        judgement = Judgement("no_effect", evidence={"usable_checkpoints": 0})
        return [self._follow_ups.conclude(pending, judgement, self.view, self.state)]

    def observe_race(self, start: int, arms: Sequence[ArmSignals]) -> tuple[list[Decision], int]:
        """Judge a race from the checkpoint at `start`; returns the verdict and the arm that training continues with."""
        pending = self.state.pending
        assert pending is not None and pending.racing, "a race is run only when the supervisor asked for it"
        judgement, winner = self._follow_ups.judge_race(arms, start)
        self._record_arm(arms[winner], start)
        self.state.knobs |= arms[winner].knobs
        return [self._follow_ups.conclude(pending, judgement, self.view, self.state)], winner

    def observe_abandoned(self, start: int, arm: ArmSignals | None) -> tuple[list[Decision], bool]:
        """Judge the state that the pending intervention abandoned; return whether training goes back to it.

        `arm` is None if it cannot be read any more.
        """
        pending = self.state.pending
        assert pending is not None and pending.racing, "it is tried only when the supervisor asked for it"
        judgement = self._follow_ups.judge_trial(arm, self.distances)
        decisions = [self._follow_ups.conclude(pending, judgement, self.view, self.state)]
        returns = judgement.verdict == "harmful"
        if returns and arm is not None:
            self._return_to_abandoned(arm)
        elif arm is not None:
            self.state.work_steps += len(arm.steps)
        self._abandoned = None
        return decisions, returns

    def _return_to_abandoned(self, arm: ArmSignals) -> None:
        assert self._abandoned is not None, "the abandoned state is kept until the verdict"
        abandoned, self.state = self._abandoned, self.state.returned_to(self._abandoned["memory"])
        self.facts = self.facts.model_copy(update=abandoned["facts"])
        self.history.load_state_dict(abandoned["history"])
        self.distances.load_state_dict(abandoned["distances"])
        self.state.knobs |= {name: arm.knobs[name] for name in self.facts.knobs}
        self._record_steps(arm)
        self.state.cooldown_until = self.state.step + cooldown_steps(self.view, self.settings.supervision)

    def observe_turn(self, knob: str, position: float) -> list[Decision]:
        """A person has turned a knob."""
        self.state.returning.pop(knob, None)
        decisions = self._follow_ups.supersede(self.view, self.state)
        self.state.knobs[knob] = position
        return decisions

    def _record_arm(self, arm: ArmSignals, start: int) -> None:
        """Record the signals of the arm that training continues with."""
        self._discard_after(start)
        self._record_steps(arm)

    def _record_steps(self, arm: ArmSignals) -> None:
        for step, signals in arm.steps:
            self._record_step(step, signals, {})
        if arm.evaluation:
            self.history.record(self.state.step, arm.evaluation)
            self.distances.record(self.state.step, arm.distances)

    def phase_order(self) -> TrainerOrder:
        """Order to apply the present phase's targets, also after a resume."""
        targets = self.settings.phases.of(self.state.phase).model_dump(exclude={"latest_epoch", "rollbacks"})
        return TrainerOrder("enter_phase", targets={k: float(v) for k, v in targets.items()})

    def _record_step(self, step: int, signals: Signals, outliers: Outliers) -> None:
        state = self.state
        state.step, state.work_steps = step, state.work_steps + 1
        if state.pending is None:
            self._abandoned = None  # there is a verdict, or none will come
        if "nonfinite_steps" not in signals:
            loss = signals.get("total_loss")
            state.nonfinite_steps += loss is None or not math.isfinite(loss)
            signals = {**signals, "nonfinite_steps": float(state.nonfinite_steps)}
        self.history.record(step, signals)
        self.outliers.record(step, outliers)
        if state.rollbacks and step > state.rollbacks[0] + cooldown_steps(self.view, self.settings.supervision):
            state.rollbacks = []  # training has got beyond the place of the first one

    def _discard_after(self, step: int) -> None:
        self.history.drop_after(step)
        self.distances.drop_after(step)
        self.state.roll_back(step)
        self.state.cooldown_until = step + cooldown_steps(self.view, self.settings.supervision)

    def _change_phase(self) -> list[Decision]:
        change = next_phase(self.view, self.settings.phases)
        if change is None:
            return []
        fields = {"from": self.state.phase, "to": change.phase, "signals": dict(change.evidence)}
        self.state.enter_phase(change.phase)
        orders = (self.phase_order(),) if "enter_phase" in self.facts.actions else ()
        return [make_decision(self.state, "phase", fields, *orders)]

    def _examine(self, detectors: Mapping[str, Detector]) -> list[Decision]:
        """Record new diagnoses, remove ailments that have disappeared, treat what is more than a notice."""
        view, state = self.view, self.state
        decisions, treatable = [], []
        for ailment, detect in detectors.items():
            diagnosis = detect(view)
            if diagnosis is None:
                state.remove_ailment(ailment)
                continue
            if state.severities.get(ailment) != diagnosis.severity:
                decisions.append(make_decision(state, "diagnosis", _describe(diagnosis)))
            if diagnosis.severity != "notice" and state.severities.get(ailment) in (None, "notice"):
                decisions += self._follow_ups.judge_recurrence(ailment, view, state)
            state.active.setdefault(ailment, diagnosis.since)
            state.severities[ailment] = diagnosis.severity
            if diagnosis.severity != "notice":
                treatable.append(diagnosis)
        before = state.model_dump(mode="json") if treatable else {}
        interventions = self._lifecycle.treat(treatable, self.view, state)
        if any(order.action in WEIGHT_CHANGES for decision in interventions for order in decision.orders):
            self._abandoned = self._describe_abandoned(before)
        for order in (order for decision in interventions for order in decision.orders if order.action == "restart"):
            self.facts = self.facts.after_restart(order.hparams)
        return decisions + interventions

    def _describe_abandoned(self, memory: dict[str, Any]) -> dict[str, Any]:
        return {
            "memory": memory,
            "facts": self.facts.of_settings(),
            "history": self.history.state_dict(),
            "distances": self.distances.state_dict(),
        }

    def observe_plan(self, planned_steps: int, patience_steps: int) -> None:
        """The length of the training has been corrected."""
        self.facts = self.facts.after_plan(planned_steps, patience_steps)

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history.state_dict(),
            "outliers": self.outliers.state_dict(),
            "distances": self.distances.state_dict(),
            "odd_utterances": list(self.odd_utterances),
            "abandoned": self._abandoned,
            "memory": self.state.model_dump(mode="json"),
        }

    def _keep_former_settings(self) -> None:
        """A change of settings at a resume stays a suspect also where a kill has begun another session since."""
        if self.facts.resumed_at:
            former = {name: knob.former for name, knob in self.facts.knobs.items() if knob.former is not None}
            self.state.resumed_at, self.state.former = self.facts.resumed_at, former
        elif self.state.resumed_at:
            self.facts = self.facts.with_former(self.state.resumed_at, self.state.former)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.history.load_state_dict(saved["history"])
        self.outliers.load_state_dict(saved["outliers"])
        self.distances.load_state_dict(saved.get("distances", []))  # earlier versions had neither
        self.odd_utterances = tuple(saved.get("odd_utterances", ()))
        self._abandoned = saved.get("abandoned")
        start_positions = self.state.knobs  # of knobs that did not exist yet when it was saved
        self.state = SupervisorState.model_validate(saved["memory"])
        is_earlier_version = "awaiting_outcome" not in saved["memory"]
        if (self.advise or is_earlier_version) and self.state.pending is not None and self.state.pending.racing:
            self.state.pending = None  # no trainer will run that race
        self.state.knobs = start_positions | self.state.knobs
        self._keep_former_settings()
        self.state.ended = False  # resuming a run that was ended means supervising it again


def _describe(diagnosis: Diagnosis) -> dict[str, Any]:
    """Journal fields of a diagnosis."""
    return {
        "ailment": diagnosis.ailment,
        "severity": diagnosis.severity,
        "since": diagnosis.since,
        "evidence": dict(diagnosis.evidence),
        **({"utterances": list(diagnosis.utterances)} if diagnosis.utterances else {}),
    }
