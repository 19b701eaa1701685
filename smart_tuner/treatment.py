"""Diagnosis → intervention → follow-up: at most one treatment at a time, each judged, undone if it did not help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from smart_tuner.decisions import Decision, decide
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.follow_up import Judgement, is_measured_at_evaluations, judge, level
from smart_tuner.interventions import Order, Plan
from smart_tuner.knob_turning import turn
from smart_tuner.memory import Memory, Pending
from smart_tuner.remedies import LADDERS, Case
from smart_tuner.settings import Supervision
from smart_tuner.view import View

FREE_REMEDIES = ("rerun_step", "quarantine", "keep_fewer_checkpoints", "fetch_faster", "stop", "finish_with_best")
"""They change no knob and have limits of their own: the budget is for those that steer."""


def cooldown_steps(view: View, limits: Supervision) -> int:
    return max(1, round(limits.cooldown_evaluations * view.facts.steps_per_evaluation))


class Treatment:
    """What is done about diagnoses; all it remembers lies in the memory it is given."""

    def __init__(self, limits: Supervision, *, advise: bool) -> None:
        self.limits, self.advise = limits, advise

    def treat(self, diagnoses: Sequence[Diagnosis], view: View, memory: Memory) -> list[Decision]:
        """The worst diagnosis for which something can be done now."""
        decisions: list[Decision] = []
        for diagnosis in sorted(diagnoses, key=lambda diagnosis: -diagnosis.rank):
            decisions += self._interrupt(diagnosis, view, memory)
            may_act = diagnosis.severity == "critical" or memory.step >= memory.cooldown_until
            if (
                memory.pending is None
                and may_act
                and (chosen := self._choose(Case(diagnosis, view, memory, self.limits)))
            ):
                return [*decisions, self._intervene(diagnosis, *chosen, view, memory)]
        return decisions

    def _interrupt(self, diagnosis: Diagnosis, view: View, memory: Memory) -> list[Decision]:
        """Something critical that began after a treatment: that did harm, whatever it was meant for."""
        pending = memory.pending
        if pending is None or diagnosis.severity != "critical" or diagnosis.since <= pending.step:
            return []
        if diagnosis.ailment == pending.ailment and diagnosis.ailment != "out_of_memory":
            return []
        judgement = Judgement("harmful", None, None, close=False)
        return [self.conclude(pending, judgement, view, memory, {"then": diagnosis.ailment})]

    def _choose(self, case: Case) -> tuple[str, Plan] | None:
        """The mildest remedy that is possible here, was not tried in vain, and is within the budget."""
        memory, ailment = case.memory, case.diagnosis.ailment
        has_budget = memory.interventions < self.limits.intervention_budget
        for name, remedy in LADDERS[ailment].items():
            if name in memory.failed.get(ailment, ()) or not (has_budget or name in FREE_REMEDIES):
                continue
            plan = remedy(case)
            if plan is not None and all(order.action in case.facts.actions for order in plan.orders):
                return name, plan
        if case.diagnosis.severity == "critical":
            memory.helpless.setdefault(ailment, memory.step)
        return None

    def _intervene(self, diagnosis: Diagnosis, remedy: str, plan: Plan, view: View, memory: Memory) -> Decision:
        memory.interventions += remedy not in FREE_REMEDIES
        fields: dict[str, Any] = {
            "ailment": diagnosis.ailment,
            "severity": diagnosis.severity,
            "evidence": dict(diagnosis.evidence),
            "remedy": remedy,
            **({"utterances": list(diagnosis.utterances)} if diagnosis.utterances else {}),
            **_what_changes(plan, memory),
            "expected": asdict(plan.expected),
        }
        if self.advise:
            memory.fail(diagnosis.ailment, remedy)  # said once is enough
            memory.cooldown_until = memory.step + cooldown_steps(view, self.limits)
            return decide(memory, "intervention", fields | {"advice": True})
        memory.pending = Pending(
            ailment=diagnosis.ailment,
            remedy=remedy,
            step=memory.step,
            expected=plan.expected,
            knob=plan.knob,
            before=memory.knobs[plan.knob] if plan.knob else None,
            target=plan.target,
        )
        for order in plan.orders:
            memory.take_in(order)
            view.outliers.forget(order.utterances)
        if plan.knob is None or plan.target is None:
            return decide(memory, "intervention", fields, *plan.orders)
        memory.returning.pop(plan.knob, None)
        return decide(memory, "intervention", fields, turn(plan.knob, plan.target, view.facts, memory, self.limits))

    def follow_up_if_due(self, view: View, memory: Memory, *, after_evaluation: bool) -> list[Decision]:
        pending = memory.pending
        if pending is None or pending.racing or memory.step < pending.expected.by_step:
            return []
        if pending.knob is not None and memory.knobs[pending.knob] != pending.target:
            return []  # still on its way
        signal = pending.expected.signal
        if is_measured_at_evaluations(signal) and not after_evaluation:
            return []
        judgement = judge(pending.expected, level(view, signal))
        if judgement.close and (race := self._race(pending, view, memory)):
            return [race]
        return [self.conclude(pending, judgement, view, memory)]

    def _race(self, pending: Pending, view: View, memory: Memory) -> Decision | None:
        """Too close to call: train a stretch with and without the treatment, from a checkpoint before it."""
        n_steps, factor = view.facts.steps_per_evaluation, self.limits.largest_step_factor
        before = [step for step in memory.checkpoints if memory.begin < step <= pending.step]
        able = "race" in view.facts.actions and self.limits.strong_checks
        affordable = memory.work_steps + 2 * n_steps <= self.limits.work_budget * view.facts.planned_steps
        if not (pending.knob and pending.before and before and able and affordable):
            return None
        treated = memory.knobs[pending.knob]
        if not 1 / factor <= treated / pending.before <= factor:
            return None  # at the fork the knob would jump by more than is allowed
        pending.racing = True
        arms = ({pending.knob: pending.before}, {pending.knob: treated})
        fields = {"ailment": pending.ailment, "remedy": pending.remedy, "check": "race", "from_step": before[-1]}
        order = Order("race", step=before[-1], arms=arms, n_steps=n_steps)
        return decide(memory, "follow_up", fields | {"knob": pending.knob, "n_steps": n_steps}, order)

    def conclude(
        self,
        pending: Pending,
        judgement: Judgement,
        view: View,
        memory: Memory,
        evidence: Mapping[str, Any] | None = None,
    ) -> Decision:
        """The verdict; what did not help is undone and not tried again."""
        memory.pending, memory.cooldown_until = None, memory.step + cooldown_steps(view, self.limits)
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
            return decide(memory, "follow_up", fields)
        memory.fail(pending.ailment, pending.remedy)
        if pending.knob is None or pending.before is None or memory.knobs[pending.knob] == pending.before:
            return decide(memory, "follow_up", fields | {"reverted": False})
        fields |= {"reverted": True, "knob": pending.knob, "from": memory.knobs[pending.knob], "to": pending.before}
        memory.returning[pending.knob] = pending.before
        order = turn(pending.knob, pending.before, view.facts, memory, self.limits)
        return decide(memory, "follow_up", fields, order)


def _what_changes(plan: Plan, memory: Memory) -> dict[str, Any]:
    """For the journal: which knob goes from where to where, or what else is done."""
    if plan.knob is not None:
        return {"knob": plan.knob, "from": memory.knobs[plan.knob], "to": plan.target}
    fields: dict[str, Any] = {}
    for order in plan.orders:
        fields |= {"action": order.action}
        fields |= {"to_step": order.step, "skip_since": order.skip_since} if order.action == "roll_back" else {}
        fields |= {"knobs": dict(order.knobs)} if order.knobs else {}
    return fields
