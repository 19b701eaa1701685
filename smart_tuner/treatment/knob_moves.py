"""Moves of a knob to its target: by the largest allowed factor at a time, one move every few training steps."""

from __future__ import annotations

from reports import TrainerOrder
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.decisions import Decision, make_decision

MOVES_PER_EVALUATION = 8


def move_knob(
    knob: str, target: float, facts: RunFacts, state: SupervisorState, limits: SupervisionSettings
) -> TrainerOrder:
    """One move towards the target; a knob is switched on to its first position, and off from there."""
    factor, now, first = limits.largest_step_factor, state.knobs[knob], facts.knobs[knob].first
    if now == 0:
        position = target if first is None else min(target, first)
    elif target == 0 and (first is None or now <= first):
        position = 0.0
    else:
        position = min(target, now * factor) if target > now else max(target, now / factor)
    state.knobs[knob], state.turned_at = position, state.step
    return TrainerOrder("turn", knobs={knob: position})


def continue_moves(facts: RunFacts, state: SupervisorState, limits: SupervisionSettings) -> list[Decision]:
    """The next move of each knob that an intervention turns, or that returns to its former position."""
    if state.step < state.turned_at + max(1, facts.steps_per_evaluation // MOVES_PER_EVALUATION):
        return []
    targets, pending = dict(state.returning), state.pending
    if pending is not None and pending.knob is not None and pending.target is not None and not pending.racing:
        targets[pending.knob] = pending.target
    decisions = []
    for knob, target in targets.items():
        if (now := state.knobs[knob]) != target:
            order = move_knob(knob, target, facts, state, limits)
            fields = {"knob": knob, "from": now, "to": state.knobs[knob], "on_the_way_to": target}
            decisions.append(make_decision(state, "intervention", fields, order))
        if state.knobs[knob] == target:
            state.returning.pop(knob, None)
    return decisions
