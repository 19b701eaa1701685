"""Start of interventions: select a remedy for a diagnosis, ask for approval where it is needed, give the orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from smart_tuner.diagnosis import SEVERITIES, Diagnosis
from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import Settings
from smart_tuner.state import PendingFollowUp, SupervisorState
from smart_tuner.treatment.decisions import Decision, make_decision
from smart_tuner.treatment.follow_up import FollowUps, cooldown_steps, expect_outcomes
from smart_tuner.treatment.interventions import WEIGHT_CHANGES, InterventionPlan
from smart_tuner.treatment.knob_moves import move_knob
from smart_tuner.treatment.remedies import RemedyContext
from smart_tuner.treatment.selection import FREE_REMEDIES, select_remedy
from smart_tuner.treatment.verdicts.judgement import Judgement

ROOT_CAUSE = "bad_utterance"
"""It explains the other ailments of the same step, and is treated first."""
DIVERGENCE = (
    *("nonfinite_step", "exploding_gradient", "loss_spike", "oscillating_loss", "learning_rate_too_high"),
    *("exploding_flow", "sawtooth_loss"),
)
"""Symptoms that a bad utterance causes too."""
MACHINE_AILMENTS = ("data_starvation", "disk_running_full", "out_of_memory")
"""They leave the model as it was: they mark no checkpoint as sick, and fail no treatment."""


class InterventionLifecycle:
    """Decides on interventions; it has no state of its own, but changes the supervisor's."""

    def __init__(self, settings: Settings, *, advise: bool) -> None:
        self.limits, self.phases, self.advise = settings.supervision, settings.phases, advise
        self.follow_ups = FollowUps(settings.supervision)

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
                if self._needs_approval(diagnosis.ailment, remedy, plan, state):
                    decisions += self._propose(diagnosis, remedy, plan, state)
                else:
                    decisions.append(self._start(diagnosis, remedy, plan, view, state))
                break
        return decisions

    def _needs_approval(self, ailment: str, remedy: str, plan: InterventionPlan, state: SupervisorState) -> bool:
        if self.advise or (not plan.asks and (self.limits.approval == "none" or remedy in FREE_REMEDIES)):
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
            "default": "reject" if plan.asks else self.limits.approval_default,
        }
        return [make_decision(state, "proposal", fields)]

    def _conclude_early(self, diagnosis: Diagnosis, view: RunView, state: SupervisorState) -> list[Decision]:
        """Conclude the pending intervention if another critical ailment began after it."""
        pending = state.pending
        if pending is None or diagnosis.severity != "critical" or diagnosis.ailment == pending.ailment:
            return []
        if diagnosis.ailment in (*pending.active_before, *MACHINE_AILMENTS) or diagnosis.since <= pending.step:
            return []
        judgement = Judgement("no_effect", evidence={"then": diagnosis.ailment})
        return [self.follow_ups.conclude(pending, judgement, view, state)]

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
        state.n_started += 1
        fields |= {"number": state.n_started}
        judged_by, outcomes = expect_outcomes(plan, view, self.limits)
        follow_up = PendingFollowUp(
            number=state.n_started,
            ailment=diagnosis.ailment,
            remedy=remedy,
            step=state.step,
            expected=plan.expected,
            knob=plan.knob,
            before=state.knobs[plan.knob] if plan.knob else None,
            target=plan.target,
            active_before=sorted(state.active),
            abandoned_at=state.step if self._keeps_abandoned(plan, view) else None,
            abandoned_length=view.attempt_steps,
            lost_steps=_lost_steps(plan, view),
            utterances=[name for order in plan.orders for name in order.utterances],
            judged_by=0 if remedy in FREE_REMEDIES else judged_by,
            outcomes=outcomes,
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

    @staticmethod
    def _keeps_abandoned(plan: InterventionPlan, view: RunView) -> bool:
        is_move = any(order.action in WEIGHT_CHANGES for order in plan.orders)
        return is_move and "try_abandoned" in view.facts.actions


def _lost_steps(plan: InterventionPlan, view: RunView) -> int:
    """Steps that a rollback or restart gives up."""
    back_to = [order.step if order.action == "roll_back" else view.attempt_start for order in plan.orders]
    return view.step - min(back_to) if any(order.action in WEIGHT_CHANGES for order in plan.orders) else 0


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
