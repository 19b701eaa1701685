"""Diagnosis → intervention → follow-up: at most one treatment at a time, each judged, undone if it did not help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reports import TrainerOrder
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import Settings, SupervisionSettings
from smart_tuner.state import PendingFollowUp, SupervisorState
from smart_tuner.treatment.decisions import Decision, decide
from smart_tuner.treatment.follow_up import FollowUpResult, is_measured_at_evaluations, judge, level
from smart_tuner.treatment.interventions import InterventionPlan
from smart_tuner.treatment.knob_moves import turn
from smart_tuner.treatment.policy import REMEDIES_BY_AILMENT
from smart_tuner.treatment.remedies import Case

FREE_REMEDIES = (
    *("rerun_step", "quarantine", "split_batches", "keep_fewer_checkpoints", "fetch_faster"),
    *("stop", "finish_with_best"),
)
"""They do not change what is learnt, or end it: neither the budget nor another treatment stands in their way."""
CAUSE = "bad_utterance"
"""It explains what else is seen at the same time, and goes first."""
AS_OFTEN_AS_NEEDED = ("quarantine", "split_batches")
DIVERGENCE = (
    *("nonfinite_step", "exploding_gradient", "loss_spike", "oscillating_loss", "learning_rate_too_high"),
    *("exploding_flow", "sawtooth_loss"),
)
"""Faces of one illness: that another shows itself is no harm done by a treatment, which just did not help."""


def cooldown_steps(view: RunView, limits: SupervisionSettings) -> int:
    return max(1, round(limits.cooldown_evaluations * view.facts.steps_per_evaluation))


class Treatment:
    """What is done about diagnoses; all it remembers lies in the state it is given."""

    def __init__(self, settings: Settings, *, advise: bool) -> None:
        self.limits, self.phases, self.advise = settings.supervision, settings.phases, advise

    def treat(self, diagnoses: Sequence[Diagnosis], view: RunView, state: SupervisorState) -> list[Decision]:
        """The worst diagnosis for which something can be done now."""
        decisions: list[Decision] = []
        if state.pending is not None and state.pending.racing:
            return decisions  # by the time it is run, these signals will be of another past
        for diagnosis in sorted(diagnoses, key=lambda diagnosis: (diagnosis.ailment != CAUSE, -diagnosis.rank)):
            if diagnosis.ailment in DIVERGENCE and diagnosis.since <= state.quarantined_until:
                continue  # it came from an utterance that is gone
            decisions += self._interrupt(diagnosis, view, state)
            if chosen := self._choose(self._case(diagnosis, view, state)):
                act = self._intervene if self._is_granted(diagnosis.ailment, chosen[0], state) else self._propose
                decisions += act(diagnosis, *chosen, view, state)
                break
        return decisions

    def _is_granted(self, ailment: str, remedy: str, state: SupervisorState) -> bool:
        """Whether nobody has to be asked (any more)."""
        if self.limits.approval == "none" or self.advise or remedy in FREE_REMEDIES:
            return True
        return (ailment, remedy) in state.granted

    def _propose(
        self, diagnosis: Diagnosis, remedy: str, plan: InterventionPlan, view: RunView, state: SupervisorState
    ) -> list[Decision]:
        """Ask once; by the time of the answer the plan may be another one.

        Its number is its step: after a crash the same number is the same question, and no other.
        """
        wish = (diagnosis.ailment, remedy)
        if wish in state.proposed.values():
            return []
        number = state.proposals = max(state.step, state.proposals + 1)
        state.proposed[number] = wish
        fields = self._described(diagnosis, remedy, plan, state) | {
            "number": number,
            "timeout_seconds": 60 * self.limits.approval_minutes,
            "default": self.limits.approval_default,
        }
        return [decide(state, "proposal", fields)]

    def answered(self, number: int, state: SupervisorState, *, granted: bool) -> None:
        """What was rejected is not asked for again; what was granted is done if it is still called for.

        Once the ailment has healed, an answer is about nothing.
        """
        wish = state.proposed.pop(number)
        if wish[0] in state.active:
            (state.granted if granted else state.rejected).append(wish)

    def _interrupt(self, diagnosis: Diagnosis, view: RunView, state: SupervisorState) -> list[Decision]:
        """Something critical that began after a treatment did harm, or shows that it does not help."""
        pending = state.pending
        if pending is None or diagnosis.severity != "critical" or diagnosis.ailment == pending.ailment:
            return []
        same_illness = diagnosis.ailment in DIVERGENCE and pending.ailment in DIVERGENCE
        if diagnosis.ailment in pending.known or not (same_illness or diagnosis.since > pending.step):
            return []
        judgement = FollowUpResult("no_effect" if same_illness else "harmful", None, None, close=False)
        return [self.conclude(pending, judgement, view, state, {"then": diagnosis.ailment})]

    def _case(self, diagnosis: Diagnosis, view: RunView, state: SupervisorState) -> Case:
        return Case(diagnosis, view, state, self.limits, self.phases.of(state.phase).rollbacks)

    def _choose(self, case: Case) -> tuple[str, InterventionPlan] | None:
        """The mildest remedy that is possible here and now, was not tried in vain, and is within the budget."""
        state, ailment = case.state, case.diagnosis.ailment
        has_budget, was_rejected = state.interventions < self.limits.intervention_budget, False
        for name, remedy in REMEDIES_BY_AILMENT[ailment].items():
            if name in state.failed.get(ailment, ()) or not (has_budget or name in FREE_REMEDIES):
                continue
            if (ailment, name) in state.rejected:
                was_rejected = True
                continue
            plan = remedy(case)
            if plan is None or not plan.actions <= set(case.facts.actions):
                continue
            if name in FREE_REMEDIES or _can_be_judged(plan, case):
                return (name, plan) if self._may_act(name, case) else None
        if case.diagnosis.severity == "critical" and not was_rejected:
            state.helpless.setdefault(ailment, state.step)
        return None

    def _may_act(self, remedy: str, case: Case) -> bool:
        """One treatment that steers at a time, and a pause after it unless it is urgent."""
        state = case.state
        if remedy in FREE_REMEDIES:
            return remedy in AS_OFTEN_AS_NEEDED or all(other.remedy != remedy for other in state.watching)
        return state.pending is None and (case.diagnosis.severity == "critical" or state.step >= state.cooldown_until)

    def _described(
        self, diagnosis: Diagnosis, remedy: str, plan: InterventionPlan, state: SupervisorState
    ) -> dict[str, Any]:
        return {
            "ailment": diagnosis.ailment,
            "severity": diagnosis.severity,
            "evidence": dict(diagnosis.evidence),
            "remedy": remedy,
            **({"utterances": list(diagnosis.utterances)} if diagnosis.utterances else {}),
            **_what_changes(plan, state),
            "expected": asdict(plan.expected),
        }

    def _intervene(
        self, diagnosis: Diagnosis, remedy: str, plan: InterventionPlan, view: RunView, state: SupervisorState
    ) -> list[Decision]:
        state.interventions += remedy not in FREE_REMEDIES
        state.granted = [wish for wish in state.granted if wish != (diagnosis.ailment, remedy)]
        fields = self._described(diagnosis, remedy, plan, state)
        if self.advise:
            state.fail(diagnosis.ailment, remedy)  # said once is enough
            state.cooldown_until = state.step + cooldown_steps(view, self.limits)
            return [decide(state, "intervention", fields | {"advice": True})]
        pending = PendingFollowUp(
            ailment=diagnosis.ailment,
            remedy=remedy,
            step=state.step,
            expected=plan.expected,
            knob=plan.knob,
            before=state.knobs[plan.knob] if plan.knob else None,
            target=plan.target,
            known=sorted(state.active),
            racing=any(order.action == "race" for order in plan.orders),
        )
        if remedy in FREE_REMEDIES:
            state.watching.append(pending)
        else:
            state.pending = pending
        for order in plan.orders:
            state.take_in(order)
            view.outliers.forget(order.utterances)
        if plan.knob is None or plan.target is None:
            return [decide(state, "intervention", fields, *plan.orders)]
        state.returning.pop(plan.knob, None)
        return [decide(state, "intervention", fields, turn(plan.knob, plan.target, view.facts, state, self.limits))]

    def follow_up_if_due(self, view: RunView, state: SupervisorState, *, after_evaluation: bool) -> list[Decision]:
        waiting = [*state.watching, *([state.pending] if state.pending is not None else [])]
        return [self._follow_up(p, view, state) for p in waiting if self._is_due(p, state, after_evaluation)]

    def _is_due(self, pending: PendingFollowUp, state: SupervisorState, after_evaluation: bool) -> bool:
        if pending.racing or state.step < pending.expected.by_step:
            return False
        if pending.knob is not None and state.knobs[pending.knob] != pending.target:
            return False  # still on its way
        return after_evaluation or not is_measured_at_evaluations(pending.expected.signal)

    def _follow_up(self, pending: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision:
        judgement = judge(pending.expected, level(view, pending.expected.signal), view.facts)
        race = self._race(pending, view, state) if judgement.close else None
        return race or self.conclude(pending, judgement, view, state)

    def _race(self, pending: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision | None:
        """Too close to call: train a stretch with and without the treatment, from a checkpoint before it."""
        n_steps, factor = view.facts.steps_per_evaluation, self.limits.largest_step_factor
        before = [step for step in state.checkpoints if state.begin < step <= pending.step]
        able = "race" in view.facts.actions and self.limits.strong_checks
        affordable = state.work_steps + 2 * n_steps <= self.limits.work_budget * view.facts.planned_steps
        if not (pending.knob and pending.before and before and able and affordable):
            return None
        treated = state.knobs[pending.knob]
        if not 1 / factor <= treated / pending.before <= factor:
            return None  # at the fork the knob would jump by more than is allowed
        pending.racing = True
        arms = ({pending.knob: pending.before}, {pending.knob: treated})
        fields = {"ailment": pending.ailment, "remedy": pending.remedy, "check": "race", "from_step": before[-1]}
        order = TrainerOrder("race", step=before[-1], arms=arms, n_steps=n_steps)
        return decide(state, "follow_up", fields | {"knob": pending.knob, "n_steps": n_steps}, order)

    def make_way(self, view: RunView, state: SupervisorState) -> list[Decision]:
        """A person has turned a knob: what was under treatment can no longer be judged, and stays as it is."""
        state.cooldown_until = state.step + cooldown_steps(view, self.limits)
        pending, state.pending = state.pending, None
        if pending is None:
            return []
        fields = {"ailment": pending.ailment, "remedy": pending.remedy, "superseded_by": "person"}
        return [decide(state, "follow_up", fields)]

    def conclude(
        self,
        pending: PendingFollowUp,
        judgement: FollowUpResult,
        view: RunView,
        state: SupervisorState,
        evidence: Mapping[str, Any] | None = None,
    ) -> Decision:
        """The verdict; what did not help is undone and not tried again."""
        state.close(pending)
        if pending.remedy not in FREE_REMEDIES:
            state.cooldown_until = state.step + cooldown_steps(view, self.limits)
        fields: dict[str, Any] = {
            "ailment": pending.ailment,
            "remedy": pending.remedy,
            "verdict": judgement.verdict,
            "expected": asdict(pending.expected),
            "value": judgement.value,
            "gain": judgement.gain,
            **({"evidence": dict(evidence)} if evidence else {}),
        }
        if judgement.verdict == "helped":
            return decide(state, "follow_up", fields)
        state.fail(pending.ailment, pending.remedy)
        if pending.knob is None or pending.before is None or state.knobs[pending.knob] == pending.before:
            return decide(state, "follow_up", fields | {"reverted": False})
        fields |= {"reverted": True, "knob": pending.knob, "from": state.knobs[pending.knob], "to": pending.before}
        state.returning[pending.knob] = pending.before
        order = turn(pending.knob, pending.before, view.facts, state, self.limits)
        return decide(state, "follow_up", fields, order)


def _can_be_judged(plan: InterventionPlan, case: Case) -> bool:
    """Before training ends: a knob is not turned when nobody would see whether that helped."""
    return plan.knob is None or plan.expected.by_step <= case.view.begin + case.facts.planned_steps


def _what_changes(plan: InterventionPlan, state: SupervisorState) -> dict[str, Any]:
    """For the journal: which knob goes from where to where, or what else is done."""
    if plan.knob is not None:
        return {"knob": plan.knob, "from": state.knobs[plan.knob], "to": plan.target}
    first, *others = plan.orders
    fields: dict[str, Any] = {"action": first.action}
    fields |= {"besides": [order.action for order in others]} if others else {}
    for order in plan.orders:
        fields |= {"to_step": order.step, "skip_since": order.skip_since} if order.action == "roll_back" else {}
        fields |= {"to_step": order.step, "n_steps": order.n_steps} if order.action == "race" else {}
        fields |= {"arms": [dict(arm) for arm in order.arms]} if order.arms else {}
        fields |= {"knobs": dict(order.knobs)} if order.knobs else {}
        fields |= {"settings": dict(order.hparams)} if order.hparams else {}
    return fields
