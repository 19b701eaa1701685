"""First remedy after a resume with changed settings: go back to the checkpoint before, with the former settings."""

from __future__ import annotations

from dataclasses import replace

from smart_tuner.treatment.interventions import Direction, InterventionPlan
from smart_tuner.treatment.remedies import Remedy, RemedyContext, roll_back

SUSPECT_EVALUATIONS = 4
"""So long after a resume its changes are the first suspect."""


def undo_changed_settings(signal: str, direction: Direction) -> Remedy:
    """Roll back with the positions of all knobs whose settings the resume has changed."""
    plan_rollback = roll_back(signal, direction)

    def plan(context: RemedyContext) -> InterventionPlan | None:
        former, resumed_at = _former_positions(context), context.facts.resumed_at
        is_suspect = resumed_at < context.diagnosis.since <= resumed_at + _steps(context)
        if not former or not is_suspect:
            return None
        before_resume = replace(context, diagnosis=replace(context.diagnosis, since=resumed_at + 1))
        rollback = plan_rollback(before_resume) or plan_rollback(context)
        if rollback is None:
            return None
        (order,) = rollback.orders
        # the data are not to blame
        return replace(rollback, orders=(replace(order, knobs=former, skip_since=None),))

    return plan


def _former_positions(context: RemedyContext) -> dict[str, float]:
    """Positions before the resume, or the nearest within the bounds, of knobs that are not there and not pinned."""
    facts, now = context.facts, context.state.knobs
    former = {
        name: min(knob.high, max(knob.low, knob.former))
        for name, knob in facts.knobs.items()
        if knob.former is not None and name not in facts.pinned
    }
    return {name: position for name, position in former.items() if position != now[name]}


def _steps(context: RemedyContext) -> int:
    return SUSPECT_EVALUATIONS * context.facts.steps_per_evaluation
