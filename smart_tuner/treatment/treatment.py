"""Diagnosis → intervention → follow-up: at most one treatment at a time, each judged, undone if it did not help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reports import TrainerOrder
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.view import View
from smart_tuner.settings import Settings, Supervision
from smart_tuner.state import Memory, Pending
from smart_tuner.treatment.decisions import Decision, decide
from smart_tuner.treatment.follow_up import Judgement, is_measured_at_evaluations, judge, level
from smart_tuner.treatment.interventions import Plan
from smart_tuner.treatment.knob_moves import turn
from smart_tuner.treatment.policy import LADDERS
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


def cooldown_steps(view: View, limits: Supervision) -> int:
    return max(1, round(limits.cooldown_evaluations * view.facts.steps_per_evaluation))


class Treatment:
    """What is done about diagnoses; all it remembers lies in the memory it is given."""

    def __init__(self, settings: Settings, *, advise: bool) -> None:
        self.limits, self.phases, self.advise = settings.supervision, settings.phases, advise

    def treat(self, diagnoses: Sequence[Diagnosis], view: View, memory: Memory) -> list[Decision]:
        """The worst diagnosis for which something can be done now."""
        decisions: list[Decision] = []
        if memory.pending is not None and memory.pending.racing:
            return decisions  # by the time it is run, these signals will be of another past
        for diagnosis in sorted(diagnoses, key=lambda diagnosis: (diagnosis.ailment != CAUSE, -diagnosis.rank)):
            if diagnosis.ailment in DIVERGENCE and diagnosis.since <= memory.quarantined_until:
                continue  # it came from an utterance that is gone
            decisions += self._interrupt(diagnosis, view, memory)
            if chosen := self._choose(self._case(diagnosis, view, memory)):
                act = self._intervene if self._is_granted(diagnosis.ailment, chosen[0], memory) else self._propose
                decisions += act(diagnosis, *chosen, view, memory)
                break
        return decisions

    def _is_granted(self, ailment: str, remedy: str, memory: Memory) -> bool:
        """Whether nobody has to be asked (any more)."""
        if self.limits.approval == "none" or self.advise or remedy in FREE_REMEDIES:
            return True
        return (ailment, remedy) in memory.granted

    def _propose(self, diagnosis: Diagnosis, remedy: str, plan: Plan, view: View, memory: Memory) -> list[Decision]:
        """Ask once; by the time of the answer the plan may be another one.

        Its number is its step: after a crash the same number is the same question, and no other.
        """
        wish = (diagnosis.ailment, remedy)
        if wish in memory.proposed.values():
            return []
        number = memory.proposals = max(memory.step, memory.proposals + 1)
        memory.proposed[number] = wish
        fields = self._described(diagnosis, remedy, plan, memory) | {
            "number": number,
            "timeout_seconds": 60 * self.limits.approval_minutes,
            "default": self.limits.approval_default,
        }
        return [decide(memory, "proposal", fields)]

    def answered(self, number: int, memory: Memory, *, granted: bool) -> None:
        """What was rejected is not asked for again; what was granted is done if it is still called for.

        Once the ailment has healed, an answer is about nothing.
        """
        wish = memory.proposed.pop(number)
        if wish[0] in memory.active:
            (memory.granted if granted else memory.rejected).append(wish)

    def _interrupt(self, diagnosis: Diagnosis, view: View, memory: Memory) -> list[Decision]:
        """Something critical that began after a treatment did harm, or shows that it does not help."""
        pending = memory.pending
        if pending is None or diagnosis.severity != "critical" or diagnosis.ailment == pending.ailment:
            return []
        same_illness = diagnosis.ailment in DIVERGENCE and pending.ailment in DIVERGENCE
        if diagnosis.ailment in pending.known or not (same_illness or diagnosis.since > pending.step):
            return []
        judgement = Judgement("no_effect" if same_illness else "harmful", None, None, close=False)
        return [self.conclude(pending, judgement, view, memory, {"then": diagnosis.ailment})]

    def _case(self, diagnosis: Diagnosis, view: View, memory: Memory) -> Case:
        return Case(diagnosis, view, memory, self.limits, self.phases.of(memory.phase).rollbacks)

    def _choose(self, case: Case) -> tuple[str, Plan] | None:
        """The mildest remedy that is possible here and now, was not tried in vain, and is within the budget."""
        memory, ailment = case.memory, case.diagnosis.ailment
        has_budget, was_rejected = memory.interventions < self.limits.intervention_budget, False
        for name, remedy in LADDERS[ailment].items():
            if name in memory.failed.get(ailment, ()) or not (has_budget or name in FREE_REMEDIES):
                continue
            if (ailment, name) in memory.rejected:
                was_rejected = True
                continue
            plan = remedy(case)
            if plan is None or not plan.actions <= set(case.facts.actions):
                continue
            if name in FREE_REMEDIES or _can_be_judged(plan, case):
                return (name, plan) if self._may_act(name, case) else None
        if case.diagnosis.severity == "critical" and not was_rejected:
            memory.helpless.setdefault(ailment, memory.step)
        return None

    def _may_act(self, remedy: str, case: Case) -> bool:
        """One treatment that steers at a time, and a pause after it unless it is urgent."""
        memory = case.memory
        if remedy in FREE_REMEDIES:
            return remedy in AS_OFTEN_AS_NEEDED or all(other.remedy != remedy for other in memory.watching)
        return memory.pending is None and (
            case.diagnosis.severity == "critical" or memory.step >= memory.cooldown_until
        )

    def _described(self, diagnosis: Diagnosis, remedy: str, plan: Plan, memory: Memory) -> dict[str, Any]:
        return {
            "ailment": diagnosis.ailment,
            "severity": diagnosis.severity,
            "evidence": dict(diagnosis.evidence),
            "remedy": remedy,
            **({"utterances": list(diagnosis.utterances)} if diagnosis.utterances else {}),
            **_what_changes(plan, memory),
            "expected": asdict(plan.expected),
        }

    def _intervene(self, diagnosis: Diagnosis, remedy: str, plan: Plan, view: View, memory: Memory) -> list[Decision]:
        memory.interventions += remedy not in FREE_REMEDIES
        memory.granted = [wish for wish in memory.granted if wish != (diagnosis.ailment, remedy)]
        fields = self._described(diagnosis, remedy, plan, memory)
        if self.advise:
            memory.fail(diagnosis.ailment, remedy)  # said once is enough
            memory.cooldown_until = memory.step + cooldown_steps(view, self.limits)
            return [decide(memory, "intervention", fields | {"advice": True})]
        pending = Pending(
            ailment=diagnosis.ailment,
            remedy=remedy,
            step=memory.step,
            expected=plan.expected,
            knob=plan.knob,
            before=memory.knobs[plan.knob] if plan.knob else None,
            target=plan.target,
            known=sorted(memory.active),
            racing=any(order.action == "race" for order in plan.orders),
        )
        if remedy in FREE_REMEDIES:
            memory.watching.append(pending)
        else:
            memory.pending = pending
        for order in plan.orders:
            memory.take_in(order)
            view.outliers.forget(order.utterances)
        if plan.knob is None or plan.target is None:
            return [decide(memory, "intervention", fields, *plan.orders)]
        memory.returning.pop(plan.knob, None)
        return [decide(memory, "intervention", fields, turn(plan.knob, plan.target, view.facts, memory, self.limits))]

    def follow_up_if_due(self, view: View, memory: Memory, *, after_evaluation: bool) -> list[Decision]:
        waiting = [*memory.watching, *([memory.pending] if memory.pending is not None else [])]
        return [self._follow_up(p, view, memory) for p in waiting if self._is_due(p, memory, after_evaluation)]

    def _is_due(self, pending: Pending, memory: Memory, after_evaluation: bool) -> bool:
        if pending.racing or memory.step < pending.expected.by_step:
            return False
        if pending.knob is not None and memory.knobs[pending.knob] != pending.target:
            return False  # still on its way
        return after_evaluation or not is_measured_at_evaluations(pending.expected.signal)

    def _follow_up(self, pending: Pending, view: View, memory: Memory) -> Decision:
        judgement = judge(pending.expected, level(view, pending.expected.signal), view.facts)
        race = self._race(pending, view, memory) if judgement.close else None
        return race or self.conclude(pending, judgement, view, memory)

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
        order = TrainerOrder("race", step=before[-1], arms=arms, n_steps=n_steps)
        return decide(memory, "follow_up", fields | {"knob": pending.knob, "n_steps": n_steps}, order)

    def make_way(self, view: View, memory: Memory) -> list[Decision]:
        """A person has turned a knob: what was under treatment can no longer be judged, and stays as it is."""
        memory.cooldown_until = memory.step + cooldown_steps(view, self.limits)
        pending, memory.pending = memory.pending, None
        if pending is None:
            return []
        fields = {"ailment": pending.ailment, "remedy": pending.remedy, "superseded_by": "person"}
        return [decide(memory, "follow_up", fields)]

    def conclude(
        self,
        pending: Pending,
        judgement: Judgement,
        view: View,
        memory: Memory,
        evidence: Mapping[str, Any] | None = None,
    ) -> Decision:
        """The verdict; what did not help is undone and not tried again."""
        memory.close(pending)
        if pending.remedy not in FREE_REMEDIES:
            memory.cooldown_until = memory.step + cooldown_steps(view, self.limits)
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


def _can_be_judged(plan: Plan, case: Case) -> bool:
    """Before training ends: a knob is not turned when nobody would see whether that helped."""
    return plan.knob is None or plan.expected.by_step <= case.view.begin + case.facts.planned_steps


def _what_changes(plan: Plan, memory: Memory) -> dict[str, Any]:
    """For the journal: which knob goes from where to where, or what else is done."""
    if plan.knob is not None:
        return {"knob": plan.knob, "from": memory.knobs[plan.knob], "to": plan.target}
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
