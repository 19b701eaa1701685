"""Life cycle of interventions: propose, start, follow up, conclude with a verdict, revert if it did not help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reports import TrainerOrder
from smart_tuner.diagnosis import SEVERITIES, Diagnosis
from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import Settings, SupervisionSettings
from smart_tuner.state import PendingFollowUp, SupervisorState
from smart_tuner.treatment.decisions import Decision, make_decision
from smart_tuner.treatment.follow_up import (
    FollowUpResult,
    Verdict,
    is_measured_at_evaluations,
    judge_by_forecast,
    signal_level,
)
from smart_tuner.treatment.interventions import InterventionPlan
from smart_tuner.treatment.knob_moves import move_knob
from smart_tuner.treatment.remedies import RemedyContext
from smart_tuner.treatment.selection import FREE_REMEDIES, select_remedy

ROOT_CAUSE = "bad_utterance"
"""It explains the other ailments of the same step, and is treated first."""
DIVERGENCE = (
    *("nonfinite_step", "exploding_gradient", "loss_spike", "oscillating_loss", "learning_rate_too_high"),
    *("exploding_flow", "sawtooth_loss"),
)
"""Symptoms of one trouble: if another one of them appears, the intervention did not help, but did no harm either."""


def cooldown_steps(view: RunView, limits: SupervisionSettings) -> int:
    return max(1, round(limits.cooldown_evaluations * view.facts.steps_per_evaluation))


class InterventionLifecycle:
    """Decides on interventions; it has no state of its own, but changes the supervisor's."""

    def __init__(self, settings: Settings, *, advise: bool) -> None:
        self.limits, self.phases, self.advise = settings.supervision, settings.phases, advise

    def treat(self, diagnoses: Sequence[Diagnosis], view: RunView, state: SupervisorState) -> list[Decision]:
        """Propose or start an intervention against the most severe diagnosis that can be treated now."""
        decisions: list[Decision] = []
        if state.pending is not None and state.pending.racing:
            return decisions  # the race starts from a checkpoint: these signals will not count then
        by_urgency = sorted(diagnoses, key=lambda d: (d.ailment != ROOT_CAUSE, -SEVERITIES.index(d.severity)))
        for diagnosis in by_urgency:
            if diagnosis.ailment in DIVERGENCE and diagnosis.since <= state.quarantined_until:
                continue  # caused by an utterance that is quarantined now
            decisions += self._conclude_early(diagnosis, view, state)
            may_roll_back = self.phases.of(state.phase).rollbacks
            if selected := select_remedy(RemedyContext(diagnosis, view, state, self.limits, may_roll_back)):
                remedy, plan = selected
                if self._needs_approval(diagnosis.ailment, remedy, state):
                    decisions += self._propose(diagnosis, remedy, plan, state)
                else:
                    decisions.append(self._start(diagnosis, remedy, plan, view, state))
                break
        return decisions

    def _needs_approval(self, ailment: str, remedy: str, state: SupervisorState) -> bool:
        if self.limits.approval == "none" or self.advise or remedy in FREE_REMEDIES:
            return False
        return (ailment, remedy) not in state.granted

    def _propose(
        self, diagnosis: Diagnosis, remedy: str, plan: InterventionPlan, state: SupervisorState
    ) -> list[Decision]:
        """Ask for approval once; an approved remedy makes a new plan.

        The number is the step: after a crash, the same number denotes the same proposal and no other.
        """
        proposal = (diagnosis.ailment, remedy)
        if proposal in state.proposed.values():
            return []
        number = state.proposals = max(state.step, state.proposals + 1)
        state.proposed[number] = proposal
        fields = _describe(diagnosis, remedy, plan, state) | {
            "number": number,
            "timeout_seconds": 60 * self.limits.approval_minutes,
            "default": self.limits.approval_default,
        }
        return [make_decision(state, "proposal", fields)]

    def _conclude_early(self, diagnosis: Diagnosis, view: RunView, state: SupervisorState) -> list[Decision]:
        """Conclude the pending intervention if another critical ailment began after it."""
        pending = state.pending
        if pending is None or diagnosis.severity != "critical" or diagnosis.ailment == pending.ailment:
            return []
        is_same_trouble = diagnosis.ailment in DIVERGENCE and pending.ailment in DIVERGENCE
        if diagnosis.ailment in pending.known or not (is_same_trouble or diagnosis.since > pending.step):
            return []
        verdict: Verdict = "no_effect" if is_same_trouble else "harmful"
        result = FollowUpResult(verdict)
        return [self.conclude(pending, result, view, state, {"then": diagnosis.ailment})]

    def _start(
        self, diagnosis: Diagnosis, remedy: str, plan: InterventionPlan, view: RunView, state: SupervisorState
    ) -> Decision:
        state.interventions += remedy not in FREE_REMEDIES
        state.granted = [approval for approval in state.granted if approval != (diagnosis.ailment, remedy)]
        fields = _describe(diagnosis, remedy, plan, state)
        if self.advise:
            state.mark_failed(diagnosis.ailment, remedy)  # give each advice once
            state.cooldown_until = state.step + cooldown_steps(view, self.limits)
            return make_decision(state, "intervention", fields | {"advice": True})
        follow_up = PendingFollowUp(
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
            state.watching.append(follow_up)
        else:
            state.pending = follow_up
        for order in plan.orders:
            state.apply_order(order)
            view.outliers.remove(order.utterances)
        if plan.knob is None or plan.target is None:
            return make_decision(state, "intervention", fields, *plan.orders)
        state.returning.pop(plan.knob, None)
        order = move_knob(plan.knob, plan.target, view.facts, state, self.limits)
        return make_decision(state, "intervention", fields, order)

    def follow_up_if_due(self, view: RunView, state: SupervisorState, *, after_evaluation: bool) -> list[Decision]:
        waiting = [*state.watching, *([state.pending] if state.pending is not None else [])]
        return [self._follow_up(p, view, state) for p in waiting if _is_due(p, state, after_evaluation)]

    def _follow_up(self, pending: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision:
        result = judge_by_forecast(pending.expected, signal_level(view, pending.expected.signal), view.facts)
        race = self._order_race(pending, view, state) if result.is_within_noise else None
        return race or self.conclude(pending, result, view, state)

    def _order_race(self, pending: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision | None:
        """Train with and without the intervention from a checkpoint before it, if that is possible and affordable."""
        n_steps, factor = view.facts.steps_per_evaluation, self.limits.largest_step_factor
        checkpoints = [step for step in state.checkpoints if state.begin < step <= pending.step]
        is_supported = "race" in view.facts.actions and self.limits.strong_checks
        is_affordable = state.work_steps + 2 * n_steps <= self.limits.work_budget * view.facts.planned_steps
        if not (pending.knob and pending.before and checkpoints and is_supported and is_affordable):
            return None
        treated = state.knobs[pending.knob]
        if not 1 / factor <= treated / pending.before <= factor:
            return None  # from the checkpoint, the knob would jump by more than is allowed
        pending.racing = True
        arms = ({pending.knob: pending.before}, {pending.knob: treated})
        fields = {"ailment": pending.ailment, "remedy": pending.remedy, "check": "race", "from_step": checkpoints[-1]}
        order = TrainerOrder("race", step=checkpoints[-1], arms=arms, n_steps=n_steps)
        return make_decision(state, "follow_up", fields | {"knob": pending.knob, "n_steps": n_steps}, order)

    def supersede(self, view: RunView, state: SupervisorState) -> list[Decision]:
        """A person turned a knob: the pending intervention cannot be judged any more, and its knob stays."""
        state.cooldown_until = state.step + cooldown_steps(view, self.limits)
        pending, state.pending = state.pending, None
        if pending is None:
            return []
        fields = {"ailment": pending.ailment, "remedy": pending.remedy, "superseded_by": "person"}
        return [make_decision(state, "follow_up", fields)]

    def conclude(
        self,
        pending: PendingFollowUp,
        result: FollowUpResult,
        view: RunView,
        state: SupervisorState,
        evidence: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Record the verdict; a remedy that did not help is not tried again, and its knob returns."""
        state.remove_follow_up(pending)
        if pending.remedy not in FREE_REMEDIES:
            state.cooldown_until = state.step + cooldown_steps(view, self.limits)
        fields: dict[str, Any] = {
            "ailment": pending.ailment,
            "remedy": pending.remedy,
            "verdict": result.verdict,
            "expected": asdict(pending.expected),
            "value": result.value,
            "gain": result.gain,
            **({"evidence": dict(evidence)} if evidence else {}),
        }
        if result.verdict == "helped":
            return make_decision(state, "follow_up", fields)
        state.mark_failed(pending.ailment, pending.remedy)
        if pending.knob is None or pending.before is None or state.knobs[pending.knob] == pending.before:
            return make_decision(state, "follow_up", fields | {"reverted": False})
        fields |= {"reverted": True, "knob": pending.knob, "from": state.knobs[pending.knob], "to": pending.before}
        state.returning[pending.knob] = pending.before
        order = move_knob(pending.knob, pending.before, view.facts, state, self.limits)
        return make_decision(state, "follow_up", fields, order)


def _is_due(pending: PendingFollowUp, state: SupervisorState, after_evaluation: bool) -> bool:
    if pending.racing or state.step < pending.expected.by_step:
        return False
    if pending.knob is not None and state.knobs[pending.knob] != pending.target:
        return False  # the knob is still on its way
    return after_evaluation or not is_measured_at_evaluations(pending.expected.signal)


def _describe(diagnosis: Diagnosis, remedy: str, plan: InterventionPlan, state: SupervisorState) -> dict[str, Any]:
    """Journal fields of an intervention or a proposal."""
    return {
        "ailment": diagnosis.ailment,
        "severity": diagnosis.severity,
        "evidence": dict(diagnosis.evidence),
        "remedy": remedy,
        **({"utterances": list(diagnosis.utterances)} if diagnosis.utterances else {}),
        **_describe_changes(plan, state),
        "expected": asdict(plan.expected),
    }


def _describe_changes(plan: InterventionPlan, state: SupervisorState) -> dict[str, Any]:
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
