"""Knobs move by the largest factor allowed at a time, and on a long way a step every few training steps."""

from __future__ import annotations

from reports import TrainerOrder
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.decisions import Decision, decide

TURNS_AN_EVALUATION = 8


def turn(
    knob: str, target: float, facts: RunFacts, state: SupervisorState, limits: SupervisionSettings
) -> TrainerOrder:
    """One step of a knob towards its target; a knob that is switched off begins and ends at its first position."""
    factor, now, first = limits.largest_step_factor, state.knobs[knob], facts.knobs[knob].first
    if now == 0:
        position = target if first is None else min(target, first)
    elif target == 0 and (first is None or now <= first):
        position = 0.0
    else:
        position = min(target, now * factor) if target > now else max(target, now / factor)
    state.knobs[knob], state.turned_at = position, state.step
    return TrainerOrder("turn", knobs={knob: position})


def go_on_turning(facts: RunFacts, state: SupervisorState, limits: SupervisionSettings) -> list[Decision]:
    """The next step of knobs on their way, to where a treatment wants them or back to where they were."""
    if state.step < state.turned_at + max(1, facts.steps_per_evaluation // TURNS_AN_EVALUATION):
        return []
    moving, pending = dict(state.returning), state.pending
    if pending is not None and pending.knob is not None and pending.target is not None and not pending.racing:
        moving[pending.knob] = pending.target
    decisions = []
    for knob, target in moving.items():
        if (now := state.knobs[knob]) != target:
            order = turn(knob, target, facts, state, limits)
            fields = {"knob": knob, "from": now, "to": state.knobs[knob], "on_the_way_to": target}
            decisions.append(decide(state, "intervention", fields, order))
        if state.knobs[knob] == target:
            state.returning.pop(knob, None)
    return decisions
