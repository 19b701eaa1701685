"""Selection of a remedy for a diagnosis: the mildest one that is possible, allowed and has not failed before."""

from __future__ import annotations

from smart_tuner.treatment.interventions import InterventionPlan
from smart_tuner.treatment.remedies import RemedyContext
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT

FREE_REMEDIES = (
    *("rerun_step", "quarantine", "split_batches", "keep_fewer_checkpoints", "fetch_faster"),
    *("stop", "finish_with_best"),
)
"""Remedies that do not change how the model learns, or end training: they need no budget, approval or cooldown."""
REPEATABLE_REMEDIES = ("quarantine", "split_batches")
"""Free remedies that may be repeated before their verdict."""


def select_remedy(context: RemedyContext) -> tuple[str, InterventionPlan] | None:
    """Name and plan of the remedy to start now; a critical ailment without a remedy left is marked as untreatable."""
    state, ailment = context.state, context.diagnosis.ailment
    has_budget, is_rejected = state.interventions < context.limits.intervention_budget, False
    for name, remedy in REMEDIES_BY_AILMENT[ailment].items():
        if (
            name in state.failed.get(ailment, ())
            or _is_being_judged(name, context)
            or not (has_budget or name in FREE_REMEDIES)
        ):
            continue
        if (ailment, name) in state.rejected:
            is_rejected = True
            continue
        plan = remedy(context)
        if plan is None or not plan.required_actions <= set(context.facts.actions):
            continue
        if name in FREE_REMEDIES or _can_be_judged(plan, context):
            return (name, plan) if _may_start(name, context) else None
    if context.diagnosis.severity == "critical" and not is_rejected:
        state.helpless.setdefault(ailment, state.step)
    return None


def _is_being_judged(remedy: str, context: RemedyContext) -> bool:
    """Whether this treatment of this ailment works as intended, and its outcome is not known yet."""
    ailment = context.diagnosis.ailment
    return any((other.ailment, other.remedy) == (ailment, remedy) for other in context.state.awaiting_outcome)


def _can_be_judged(plan: InterventionPlan, context: RemedyContext) -> bool:
    """Whether training lasts until the follow-up; a knob whose effect nobody would see is not turned."""
    return plan.knob is None or plan.expected.by_step <= context.view.attempt_start + context.facts.planned_steps


def _may_start(remedy: str, context: RemedyContext) -> bool:
    """One intervention at a time that changes how the model learns, with a cooldown after it."""
    state = context.state
    if remedy in FREE_REMEDIES:
        return remedy in REPEATABLE_REMEDIES or all(other.remedy != remedy for other in state.watching)
    return state.pending is None and state.step >= state.cooldown_until
