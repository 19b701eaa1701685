"""Remedies: functions that turn a diagnosis into an intervention plan, or return None if they do not apply."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports import TrainerOrder
from smart_tuner.detectors.series import change_spread
from smart_tuner.detectors.speech.flow import BOUNDS
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.interventions import Direction, Expectation, InterventionPlan
from smart_tuner.treatment.verdicts.forecast import forecast_signal, signal_level

RESET_MOMENTS = TrainerOrder("reset_moments", n_steps=20)  # steps of the new warm-up
MEMORY_FOLLOW_UP_STEPS = 10
NEARLY = 0.15  # of a healthy level: a signal so near to it is healthy again
EXTREME_GRADIENT_FACTOR = 100.0  # times the usual norm
MAX_ROLLBACKS = 2  # at one place: more of them would not help
SMOOTHED_EVALUATIONS, MIN_SCORE_FALL = 3, 0.02


@dataclass(frozen=True)
class RemedyContext:
    """A diagnosis and everything a remedy may need to make a plan."""

    diagnosis: Diagnosis
    view: RunView
    state: SupervisorState
    limits: SupervisionSettings
    may_roll_back: bool

    @property
    def facts(self) -> RunFacts:
        return self.view.facts

    def step_after(self, evaluations: float) -> int:
        """The step that lies so many evaluations ahead."""
        return self.view.step + max(1, round(evaluations * self.facts.steps_per_evaluation))

    @property
    def remaining_work(self) -> float:
        """Steps that may still be done, repeated ones included."""
        return self.limits.work_budget * self.facts.planned_steps - self.state.work_steps

    def usual_gradient_norm(self) -> float | None:
        """Median norm before the ailment."""
        norms = [value for step, value in self.view.points("gradient_norm") if step < self.diagnosis.since]
        return statistics.median(norms) if norms else None

    def newest_healthy_checkpoint(self, before_step: int | None = None) -> int | None:
        """Step of the newest checkpoint of this attempt that was saved while no ailment was active."""
        healthy = [
            step
            for step in self.state.checkpoints
            if self.state.begin < step
            and (before_step is None or step < before_step)
            and step not in self.state.sick_checkpoints
        ]
        return healthy[-1] if healthy else None


Remedy = Callable[[RemedyContext], InterventionPlan | None]


def expect_improvement(
    context: RemedyContext,
    signal: str,
    direction: Direction,
    *,
    target: float | None = None,
    evaluations: float | None = None,
) -> Expectation:
    """The signal becomes better than its forecast by the follow-up; `…spectrum_loss` stands for the model's own."""
    signal = context.facts.signal_name(signal)
    by_step = context.step_after(context.limits.follow_up_evaluations if evaluations is None else evaluations)
    return forecast_signal(context.view, signal, direction, by_step=by_step, target=target)


def if_never_healthy(remedy: Remedy) -> Remedy:
    """Apply only if the run was not healthy before: then its settings may be the cause."""
    return lambda context: None if "before" in context.diagnosis.evidence else remedy(context)


def if_healthy_before(remedy: Remedy) -> Remedy:
    """Apply only if the run was healthy before."""
    return lambda context: remedy(context) if "before" in context.diagnosis.evidence else None


def if_half_formed(remedy: Remedy) -> Remedy:
    """Apply only if attention has formed by half under guidance: more of that leads nowhere."""

    def plan(context: RemedyContext) -> InterventionPlan | None:
        signals = (context.diagnosis.evidence[name] for name in ("diagonality", "free_diagonality"))
        is_guided = context.state.knobs.get("guide_weight_multiplier", 0.0) > 0
        return remedy(context) if is_guided and max(signals) >= context.view.failing_diagonality else None

    return plan


def for_exploded_signal(remedy_for: Callable[[str, Direction], Remedy]) -> Remedy:
    """Expect a fall of the signal that showed the explosion: the loss may not show a layer that is not invertible."""

    def plan(context: RemedyContext) -> InterventionPlan | None:
        exploded = [name for name in context.diagnosis.evidence if name in BOUNDS]
        return remedy_for(exploded[0] if exploded else "nll_loss", "down")(context)

    return plan


def rerun_step(context: RemedyContext) -> InterventionPlan | None:
    """Repeat the last batch: a transient fault disappears, a persistent one comes back."""
    expected = Expectation("nonfinite_now", "down", context.view.step + 1, None, 0.0, target=0.0)
    return InterventionPlan(expected, (TrainerOrder("rerun_step"),))


def quarantine(context: RemedyContext) -> InterventionPlan | None:
    """Exclude the utterances and undo their effect; if one was not finite, check all recordings for others."""
    known = set(context.state.quarantined)
    bad = tuple(name for name in context.diagnosis.utterances if name not in known)
    if not bad or len(known) + len(bad) > context.limits.quarantine_share * context.facts.utterances:
        return None
    expected = expect_improvement(context, "outlier_share", "down", target=0.1, evaluations=1)
    orders = [TrainerOrder("quarantine", utterances=bad, reason=context.diagnosis.ailment)]
    if context.diagnosis.evidence.get("not_finite"):
        orders.append(TrainerOrder("screen"))
    usual = context.usual_gradient_norm()
    if usual is None or _clipped_norm(context) > EXTREME_GRADIENT_FACTOR * usual:
        orders.append(RESET_MOMENTS)
    supported = [order for order in orders if order.action in ("quarantine", *context.facts.actions)]
    return InterventionPlan(expected, tuple(supported))


def quarantine_group(context: RemedyContext) -> InterventionPlan | None:
    """Exclude a whole group of utterances; a person is asked if it is larger than the share that may be excluded."""
    known = set(context.state.quarantined)
    group = tuple(name for name in context.diagnosis.utterances if name not in known)
    if not group:
        return None
    expected = expect_improvement(context, "val_spectrum_loss", "down")
    order = TrainerOrder("quarantine", utterances=group, reason=context.diagnosis.ailment)
    is_large = len(known) + len(group) > context.limits.quarantine_share * context.facts.utterances
    return InterventionPlan(expected, (order,), asks=is_large)


def _clipped_norm(context: RemedyContext) -> float:
    """Norm of the last gradient after clipping, which the optimizer's moments keep for long."""
    norms = context.view.values("gradient_norm", 1)
    clip = context.state.knobs.get("grad_clip_thresh", float("inf"))
    return min(norms[-1], clip) if norms else 0.0


def roll_back(
    signal: str, direction: Direction, *, learning_rate_factor: float = 1.0, skips_data: bool = True
) -> Remedy:
    """Return to the newest checkpoint from before the ailment, and skip the data that may have caused it."""

    def plan(context: RemedyContext) -> InterventionPlan | None:
        since = context.diagnosis.since
        if not context.may_roll_back or len(context.state.rollbacks) >= MAX_ROLLBACKS:
            return None
        checkpoint = context.newest_healthy_checkpoint(before_step=since)
        if checkpoint is None or context.view.step - checkpoint > context.remaining_work:
            return None
        knobs = {}
        if learning_rate_factor != 1.0:
            knob = context.facts.knobs.get("learning_rate_multiplier")
            if knob is None or "learning_rate_multiplier" in context.facts.pinned:
                return None
            slower = context.state.knobs["learning_rate_multiplier"] * learning_rate_factor
            knobs = {"learning_rate_multiplier": max(knob.low, slower)}
        by_step = checkpoint + context.step_after(context.limits.follow_up_evaluations) - context.view.step
        target = _nearly_healthy_level(context, signal, direction)
        expected = Expectation(signal, direction, by_step, signal_level(context.view, signal), 0.05, target)
        skip_since = since if skips_data else None
        order = TrainerOrder("roll_back", step=checkpoint, skip_since=skip_since, knobs=knobs)
        return InterventionPlan(expected, (order,))

    return plan


def _nearly_healthy_level(context: RemedyContext, signal: str, direction: Direction) -> float | None:
    """The signal's median before the ailment, with some tolerance."""
    values = [value for step, value in context.view.points(signal) if step < context.diagnosis.since][-20:]
    if not values:
        return None
    median, sign = sorted(values)[len(values) // 2], 1 if direction == "down" else -1
    return median + sign * NEARLY if context.facts.is_logarithm(signal) else median * (1 + sign * NEARLY)


def give_order(order: TrainerOrder, signal: str, direction: Direction) -> Remedy:
    """Give an order that improves a signal within one evaluation."""
    return lambda context: InterventionPlan(expect_improvement(context, signal, direction, evaluations=1), (order,))


def split_batches(context: RemedyContext) -> InterventionPlan | None:
    """Halve the part of a batch that is computed at once and accumulate gradients: the update stays the same."""
    now, knob = context.state.knobs["micro_batches"], context.facts.knobs["micro_batches"]
    if now >= knob.high or "micro_batches" in context.facts.pinned:
        return None
    by_step = context.view.step + MEMORY_FOLLOW_UP_STEPS
    expected = Expectation("out_of_memory_share", "down", by_step, None, 0.0, target=0.0)
    return InterventionPlan(expected, knob="micro_batches", target=min(knob.high, 2 * now))


def finish_with_best(context: RemedyContext) -> InterventionPlan | None:
    """End training if more of it makes the voice worse; the best checkpoint is the result."""
    if not _has_fallen(context.view.values("composite_tts_score")):
        return None  # the held-out loss follows the recordings; what the voice says by itself is as good as ever
    if context.state.pending is not None:
        return None  # it may help yet
    signal = context.facts.signal_name("val_spectrum_loss")
    order = TrainerOrder("finish", reason=f"{context.diagnosis.ailment}: the best checkpoint is the result")
    return InterventionPlan(Expectation(signal, "down", context.view.step, None, 0.0), (order,))


def _has_fallen(scores: Sequence[float]) -> bool:
    """Whether the latest scores lie below earlier ones by more than their noise; the best of many is a lucky one."""
    if len(scores) < 2 * SMOOTHED_EVALUATIONS:
        return False
    medians = [
        statistics.median(scores[i : i + SMOOTHED_EVALUATIONS]) for i in range(len(scores) - SMOOTHED_EVALUATIONS + 1)
    ]
    return medians[-1] < max(medians) - max(MIN_SCORE_FALL, change_spread(scores))


ADVICE_BY_AILMENT: Mapping[str, str] = {
    "attention_not_forming": "check that transcripts fit their recordings (--mode check), or give more recordings",
    "odd_group": "listen to the recordings that are named, and correct their texts or leave them out",
    "alignment_not_forming": "check that transcripts fit their recordings (--mode check), or give more recordings",
    "attention_lost": "give more recordings, or a smaller learning rate",
    "exploding_gradient": "look for broken recordings (--mode check), or give a smaller learning rate",
    "loss_spike": "look for broken recordings (--mode check), or give a smaller learning rate",
    "nonfinite_step": "look for broken recordings (--mode check), or train with --hparams precision=float32",
    "learning_rate_too_high": "give a smaller --learning_rate, and do not pin learning_rate_multiplier",
    "out_of_memory": "give a smaller --batch_size, a smaller preset, or a GPU with more memory",
}


def stop_hopeless_run(context: RemedyContext) -> InterventionPlan | None:
    """Stop training; the reason names the ailments that persist and advises the person."""
    ailments = sorted(context.diagnosis.evidence)
    advice = dict.fromkeys(ADVICE_BY_AILMENT[ailment] for ailment in ailments if ailment in ADVICE_BY_AILMENT)
    reason = f"hopeless: {', '.join(ailments)} persists although every remedy was tried; {'; '.join(advice)}"
    expected = Expectation("total_loss", "down", context.view.step, None, 0.0)
    return InterventionPlan(expected, (TrainerOrder("stop", reason=reason),))
