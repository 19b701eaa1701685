"""Forks at a plateau: several runs from one checkpoint, each with one knob turned, and others with none as controls."""

from __future__ import annotations

from reports import TrainerOrder
from smart_tuner.treatment.interventions import InterventionPlan
from smart_tuner.treatment.remedies import RemedyContext, expect_improvement
from smart_tuner.treatment.verdicts.race import race_arms

FORKED_KNOBS = (
    ("learning_rate_multiplier", 0.5),
    ("learning_rate_multiplier", 2.0),
    ("guide_weight_multiplier", 0.5),
    ("grad_clip_thresh", 0.5),
)
"""Knob and the factor it is turned by; one fork each."""
MAX_STEPS = 500


def fork_and_race(context: RemedyContext) -> InterventionPlan | None:
    """Race of all forks and controls, if the settings allow it and its steps can be afforded."""
    if not context.facts.forks:
        return None
    state, forks = context.state, _forks(context)
    if not forks or (checkpoint := context.newest_healthy_checkpoint()) is None:
        return None
    knobs = {name: state.knobs[name] for name, _ in FORKED_KNOBS if name in state.knobs}
    arms, seeds = race_arms(knobs, [knobs | fork for fork in forks])
    n_steps = min(MAX_STEPS, context.facts.steps_per_evaluation)
    if len(arms) * n_steps + context.view.step - checkpoint > context.remaining_work:
        return None
    signal = context.facts.signal_name("val_spectrum_loss")
    order = TrainerOrder("race", step=checkpoint, arms=arms, seeds=seeds, n_steps=n_steps)
    expected = expect_improvement(context, signal if context.view.values(signal) else "val_total_loss", "down")
    return InterventionPlan(expected, (order,))


def _forks(context: RemedyContext) -> list[dict[str, float]]:
    """Position of one knob each, turned by no more than the allowed factor and within its bounds."""
    largest = context.limits.largest_step_factor
    forks = []
    for name, factor in FORKED_KNOBS:
        knob = context.facts.knobs.get(name)
        if knob is None or name in context.facts.pinned or context.state.knobs[name] == 0:
            continue
        position = context.state.knobs[name] * min(largest, max(1 / largest, factor))
        if knob.low <= position <= knob.high:
            forks.append({name: position})
    return forks
