"""Forks at a plateau: several runs from one checkpoint, each with one knob turned, and two with none as controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import TrainerOrder
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.treatment.follow_up import FollowUpResult, gain_over
from smart_tuner.treatment.interventions import Expectation, InterventionPlan
from smart_tuner.treatment.remedies import RemedyContext, expect_improvement

N_CONTROLS = 2
FORKED_KNOBS = (
    ("learning_rate_multiplier", 0.5),
    ("learning_rate_multiplier", 2.0),
    ("guide_weight_multiplier", 0.5),
    ("grad_clip_thresh", 0.5),
)
"""Knob and the factor it is turned by; one fork each."""
MAX_STEPS = 500
MIN_NOISE = 0.01  # of the loss, in its logarithm: a plateau counts less as no gain


@dataclass(frozen=True)
class ForkResult:
    """Verdict on all forks, and the arm that training continues with."""

    result: FollowUpResult
    winner: int
    noise: float


def fork_and_race(context: RemedyContext) -> InterventionPlan | None:
    """Race of all forks and controls, if the settings allow it and its steps can be afforded."""
    if not context.facts.forks:
        return None
    state, forks = context.state, _forks(context)
    if not forks or (checkpoint := context.newest_healthy_checkpoint()) is None:
        return None
    knobs = {name: state.knobs[name] for name, _ in FORKED_KNOBS if name in state.knobs}
    arms = (*[knobs] * N_CONTROLS, *(knobs | fork for fork in forks))
    n_steps = min(MAX_STEPS, context.facts.steps_per_evaluation)
    if len(arms) * n_steps + context.view.step - checkpoint > context.remaining_work:
        return None
    signal = context.facts.signal_name("val_spectrum_loss")
    order = TrainerOrder("race", step=checkpoint, arms=arms, n_steps=n_steps, reseeded_arm=N_CONTROLS - 1)
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


def judge_forks(expected: Expectation, values: Sequence[float | None], facts: RunFacts) -> ForkResult:
    """The best fork helped if it beats the better control by more than the controls differ."""
    controls, forks = values[:N_CONTROLS], values[N_CONTROLS:]
    if None in controls:
        return ForkResult(FollowUpResult("no_effect"), 0, 0.0)
    first, second = (value for value in controls if value is not None)
    difference = gain_over(expected, first, second, facts)
    noise, better = max(MIN_NOISE, abs(difference)), first if difference >= 0 else second
    measured = [(value, i) for i, value in enumerate(forks, N_CONTROLS) if value is not None]
    gains = [(gain_over(expected, value, better, facts), i) for value, i in measured]
    gain, winner = max(gains, default=(0.0, 0))
    if gain > noise:
        return ForkResult(FollowUpResult("helped", values[winner], gain), winner, noise)
    return ForkResult(FollowUpResult("no_effect", first, gain), 0, noise)
