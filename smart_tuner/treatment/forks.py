"""Several ways on from one checkpoint: each with one knob turned, and twice with none, to know what chance does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import TrainerOrder
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.treatment.follow_up import FollowUpResult, gain_over
from smart_tuner.treatment.interventions import Expectation, InterventionPlan
from smart_tuner.treatment.remedies import Case, promise

CONTROLS = 2
TURNS = (
    ("learning_rate_multiplier", 0.5),
    ("learning_rate_multiplier", 2.0),
    ("guide_weight_multiplier", 0.5),
    ("grad_clip_thresh", 0.5),
)
MOST_STEPS = 500
LEAST_NOISE = 0.01  # of the loss, in its logarithm: what a plateau calls no gain


@dataclass(frozen=True)
class ForkJudgement:
    judgement: FollowUpResult
    winner: int
    noise: float


def fork_and_race(case: Case) -> InterventionPlan | None:
    """Where it may cost that much."""
    if not case.facts.forks:
        return None
    state, forks = case.state, _forks(case)
    healthy = [step for step in state.checkpoints if state.begin < step and step not in state.sick_checkpoints]
    if not forks or not healthy:
        return None
    knobs = {name: state.knobs[name] for name, _ in TURNS if name in state.knobs}
    arms = (*[knobs] * CONTROLS, *(knobs | fork for fork in forks))
    n_steps = min(MOST_STEPS, case.facts.steps_per_evaluation)
    if len(arms) * n_steps + case.view.step - healthy[-1] > case.can_afford:
        return None
    signal = case.facts.named("val_spectrum_loss")
    order = TrainerOrder("race", step=healthy[-1], arms=arms, n_steps=n_steps, reseeded_arm=CONTROLS - 1)
    return InterventionPlan(promise(case, signal if case.view.values(signal) else "val_total_loss", "down"), (order,))


def _forks(case: Case) -> list[dict[str, float]]:
    """One knob each, by no more than a supervisor may turn one, and not beyond its bounds."""
    largest = case.limits.largest_step_factor
    found = []
    for name, factor in TURNS:
        knob = case.facts.knobs.get(name)
        if knob is None or name in case.facts.pinned or case.state.knobs[name] == 0:
            continue
        turned = case.state.knobs[name] * min(largest, max(1 / largest, factor))
        if knob.low <= turned <= knob.high:
            found.append({name: turned})
    return found


def judge_forks(expected: Expectation, values: Sequence[float | None], facts: RunFacts) -> ForkJudgement:
    """The best fork helped if it beats the better control by more than the controls differ."""
    controls, forks = values[:CONTROLS], values[CONTROLS:]
    if None in controls:
        return ForkJudgement(FollowUpResult("no_effect", None, None, close=False), 0, 0.0)
    first, second = (value for value in controls if value is not None)
    ahead = gain_over(expected, first, second, facts)
    noise, better = max(LEAST_NOISE, abs(ahead)), first if ahead >= 0 else second
    known = [(value, i) for i, value in enumerate(forks, CONTROLS) if value is not None]
    gains = [(gain_over(expected, value, better, facts), i) for value, i in known]
    gain, winner = max(gains, default=(0.0, 0))
    if gain > noise:
        return ForkJudgement(FollowUpResult("helped", values[winner], gain, close=False), winner, noise)
    return ForkJudgement(FollowUpResult("no_effect", first, gain, close=False), 0, noise)
