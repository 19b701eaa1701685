"""What can be done about an ailment; each remedy says what it does here, or that it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reports import TrainerOrder
from smart_tuner.detectors.optimization.learning_rate import typical_ratio
from smart_tuner.detectors.speech.flow import BOUNDS
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.follow_up import expect, level
from smart_tuner.treatment.interventions import Direction, Expectation, InterventionPlan

HEALTHY_UPDATE_RATIO = 0.003  # in the midst of training
HEALTHY_FIRST_RATIO = 0.025  # of fresh weights; it falls as they grow
FAR_FROM_BALANCED = 4.0  # nearer to the balanced gate weight than this factor is not what is wrong
SMALL_BATCH = 16
REWARM_STEPS = 20
FEW_STEPS = 10
NEARLY = 0.15  # of a healthy level: so near to it all is well again
EXTREME_GRADIENT = 10.0  # times the threshold


@dataclass(frozen=True)
class Case:
    """A diagnosis and everything a remedy may need to know."""

    diagnosis: Diagnosis
    view: RunView
    state: SupervisorState
    limits: SupervisionSettings
    may_roll_back: bool

    @property
    def facts(self) -> RunFacts:
        return self.view.facts

    def later(self, evaluations: float) -> int:
        return self.view.step + max(1, round(evaluations * self.facts.steps_per_evaluation))

    @property
    def can_afford(self) -> float:
        """Steps that may still be done in all."""
        return self.limits.work_budget * self.facts.planned_steps - self.state.work_steps


Remedy = Callable[[Case], InterventionPlan | None]


def promise(
    case: Case, signal: str, direction: Direction, *, target: float | None = None, evaluations: float | None = None
) -> Expectation:
    """Better than the signal would do by itself, by the time follow-ups are due; `…spectrum_loss` is the model's."""
    signal = case.facts.named(signal)
    by_step = case.later(case.limits.follow_up_evaluations if evaluations is None else evaluations)
    return expect(case.view, signal, direction, by_step=by_step, target=target)


def turn_to(knob: str, target: Callable[[Case], float | None], signal: str, direction: Direction) -> Remedy:
    """Move a knob to where `target` says, within its bounds; nothing to do when it is (nearly) there."""

    def plan(case: Case) -> InterventionPlan | None:
        known = case.facts.knobs.get(knob)
        if known is None or knob in case.facts.pinned:
            return None
        now, wanted = case.state.knobs[knob], target(case)
        if wanted is None:
            return None
        wanted = min(known.high, max(known.low, wanted))
        if abs(wanted - now) <= 0.05 * max(abs(now), abs(wanted)):
            return None
        return InterventionPlan(promise(case, signal, direction), knob=knob, target=wanted)

    return plan


def turn_by(knob: str, factor: float, signal: str, direction: Direction) -> Remedy:
    def target(case: Case) -> float | None:
        now, first = case.state.knobs[knob], case.facts.knobs[knob].first
        return now * factor if now else (first if factor > 1 else None)

    return turn_to(knob, target, signal, direction)


def rate_for_healthy_updates(case: Case) -> float | None:
    """Weights that have hardly moved show how large the first updates would be; others how large those now are."""
    ratio = typical_ratio(case.view)
    wanted = HEALTHY_FIRST_RATIO if case.diagnosis.ailment == "learning_rate_too_low" else HEALTHY_UPDATE_RATIO
    return None if not ratio else case.state.knobs["learning_rate_multiplier"] * wanted / ratio


def from_the_start(remedy: Remedy) -> Remedy:
    """For a run that never was healthy: the settings of one that was are not what is wrong."""
    return lambda case: None if "before" in case.diagnosis.evidence else remedy(case)


def where_it_was_healthy(remedy: Remedy) -> Remedy:
    """For a run that was: what never was is not found by going back."""
    return lambda case: remedy(case) if "before" in case.diagnosis.evidence else None


def of_what_exploded(remedy_for: Callable[[str], Remedy]) -> Remedy:
    """What is to come down is what shows it: a layer that cannot be inverted says nothing in the loss."""

    def plan(case: Case) -> InterventionPlan | None:
        measured = [name for name in case.diagnosis.evidence if name in BOUNDS]
        return remedy_for(measured[0] if measured else "nll_loss")(case)

    return plan


def guide_weight(case: Case) -> float | None:
    now = case.state.knobs["guide_weight_multiplier"]
    return now * 4 if now else 1.0


def calibrated_threshold(case: Case) -> float | None:
    return level(case.view, "calibrated_gate_threshold")


def balanced_gate_weight(direction: Direction) -> Callable[[Case], float | None]:
    """The weight at which gates learn to open and not too early, if it lies far off in this direction."""

    def target(case: Case) -> float | None:
        now, balanced = case.state.knobs["gate_positive_weight"], case.facts.balanced_gate_weight
        if balanced is None or not (balanced / now if direction == "up" else now / balanced) > FAR_FROM_BALANCED:
            return None
        return balanced

    return target


def more_batches_an_update(case: Case) -> float | None:
    now = case.state.knobs["batches_per_update"]
    return 2 * now if case.facts.effective_batch_size * now < SMALL_BATCH else None


def typical_gradient(case: Case) -> float | None:
    """Clip where gradients used to be, not where they are now."""
    norms = [value for step, value in case.view.points("gradient_norm") if step < case.diagnosis.since]
    usual = sorted(norms)[len(norms) // 2] if norms else case.view.quality.gradient_norm_threshold
    return min(case.state.knobs["grad_clip_thresh"] / 2, 2 * usual)


def rerun_step(case: Case) -> InterventionPlan | None:
    """The same batch once more: a transient fault is gone, a persistent one comes back."""
    expected = Expectation("nonfinite_now", "down", case.view.step + 1, None, 0.0, target=0.0)
    return InterventionPlan(expected, (TrainerOrder("rerun_step"),))


def quarantine(case: Case) -> InterventionPlan | None:
    """Keep the named utterances out, and what they left behind; where one was not finite, look for others."""
    known = set(case.state.quarantined)
    named = tuple(name for name in case.diagnosis.utterances if name not in known)
    if not named or len(known) + len(named) > case.limits.quarantine_share * case.facts.utterances:
        return None
    promised = promise(case, "outlier_share", "down", target=0.1, evaluations=1)
    orders = [TrainerOrder("quarantine", utterances=named, reason=case.diagnosis.ailment)]
    if case.diagnosis.evidence.get("not_finite"):
        orders.append(TrainerOrder("screen"))
    if _unclipped_gradient(case) > EXTREME_GRADIENT * case.view.quality.gradient_norm_threshold:
        orders.append(TrainerOrder("reset_moments", n_steps=REWARM_STEPS))
    able = [order for order in orders if order.action in ("quarantine", *case.facts.actions)]
    return InterventionPlan(promised, tuple(able))


def _unclipped_gradient(case: Case) -> float:
    """What the optimizer has taken in of the gradient at the last step, and will remember for long."""
    norms = case.view.values("gradient_norm", 1)
    clip = case.state.knobs.get("grad_clip_thresh", float("inf"))
    return min(norms[-1], clip) if norms else 0.0


def reset_frozen_moments(case: Case) -> InterventionPlan | None:
    """Where updates have all at once become small."""
    return reset_moments(case) if "before" in case.diagnosis.evidence else None


def _healthy_level(case: Case, signal: str) -> float | None:
    values = [value for step, value in case.view.points(signal) if step < case.diagnosis.since][-20:]
    return sorted(values)[len(values) // 2] if values else None


def _nearly(well: float, signal: str, direction: Direction, facts: RunFacts) -> float:
    sign = 1 if direction == "down" else -1
    return well + sign * NEARLY if facts.is_logarithm(signal) else well * (1 + sign * NEARLY)


def roll_back(signal: str, direction: Direction, *, learning_rate_factor: float = 1.0) -> Remedy:
    """Back to the newest checkpoint from before the trouble, past the data that may have caused it."""

    def plan(case: Case) -> InterventionPlan | None:
        state = case.state
        if not case.may_roll_back or len(state.rollbacks) >= 2:
            return None  # twice at the same place: going back is not the answer
        healthy = [
            step
            for step in state.checkpoints
            if state.begin < step < case.diagnosis.since and step not in state.sick_checkpoints
        ]
        if not healthy or case.view.step - healthy[-1] > case.can_afford:
            return None
        knobs = {}
        if learning_rate_factor != 1.0:
            knob = case.facts.knobs.get("learning_rate_multiplier")
            if knob is None or "learning_rate_multiplier" in case.facts.pinned:
                return None
            slower = state.knobs["learning_rate_multiplier"] * learning_rate_factor
            knobs = {"learning_rate_multiplier": max(knob.low, slower)}
        sick, well = level(case.view, signal), _healthy_level(case, signal)
        target = None if well is None else _nearly(well, signal, direction, case.facts)
        by_step = healthy[-1] + case.later(case.limits.follow_up_evaluations) - case.view.step
        promise = Expectation(signal, direction, by_step, sick, 0.05, target)
        order = TrainerOrder("roll_back", step=healthy[-1], skip_since=case.diagnosis.since, knobs=knobs)
        return InterventionPlan(promise, (order,))

    return plan


def reset_moments(case: Case) -> InterventionPlan | None:
    promised = promise(case, "total_loss", "down", evaluations=1)
    return InterventionPlan(promised, (TrainerOrder("reset_moments", n_steps=REWARM_STEPS),))


def fetch_faster(case: Case) -> InterventionPlan | None:
    return InterventionPlan(promise(case, "data_wait_share", "down", evaluations=1), (TrainerOrder("fetch_faster"),))


def split_batches(case: Case) -> InterventionPlan | None:
    """Halve what goes through the model at once and accumulate: the update stays the same."""
    now, known = case.state.knobs["micro_batches"], case.facts.knobs["micro_batches"]
    if now >= known.high or "micro_batches" in case.facts.pinned:
        return None
    promise = Expectation("out_of_memory_share", "down", case.view.step + FEW_STEPS, None, 0.0, target=0.0)
    return InterventionPlan(promise, knob="micro_batches", target=min(known.high, 2 * now))


def keep_fewer_checkpoints(case: Case) -> InterventionPlan | None:
    return InterventionPlan(
        promise(case, "disk_free_bytes", "up", evaluations=1), (TrainerOrder("keep_fewer_checkpoints"),)
    )


def finish_with_best(case: Case) -> InterventionPlan | None:
    """More training would only harm: the best voice so far is the result."""
    promise = Expectation(case.facts.named("val_spectrum_loss"), "down", case.view.step, None, 0.0)
    return InterventionPlan(promise, (TrainerOrder("finish", reason="overfitting: the best checkpoint is the result"),))


WHAT_TO_CHANGE: Mapping[str, str] = {
    "attention_not_forming": "check that transcripts fit their recordings (--mode check), or give more recordings",
    "attention_lost": "give more recordings, or a smaller learning rate",
    "exploding_gradient": "look for broken recordings (--mode check), or give a smaller learning rate",
    "loss_spike": "look for broken recordings (--mode check), or give a smaller learning rate",
    "nonfinite_step": "look for broken recordings (--mode check), or train with --hparams precision=float32",
    "learning_rate_too_high": "give a smaller --learning_rate, and do not pin learning_rate_multiplier",
    "out_of_memory": "give a smaller --batch_size, a smaller preset, or a GPU with more memory",
}


def stop(case: Case) -> InterventionPlan | None:
    """Says what goes on in spite of everything, and what a person could change."""
    ailments = sorted(case.diagnosis.evidence)
    advice = "; ".join(dict.fromkeys(WHAT_TO_CHANGE[ailment] for ailment in ailments if ailment in WHAT_TO_CHANGE))
    reason = f"hopeless: {', '.join(ailments)} goes on although every remedy was tried; {advice}"
    return InterventionPlan(
        Expectation("total_loss", "down", case.view.step, None, 0.0), (TrainerOrder("stop", reason=reason),)
    )
