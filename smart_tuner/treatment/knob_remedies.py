"""Remedies that turn a knob, and the targets they turn it to."""

from __future__ import annotations

from collections.abc import Callable

from smart_tuner.treatment.interventions import Direction, InterventionPlan
from smart_tuner.treatment.remedies import Remedy, RemedyContext, expect_improvement
from smart_tuner.treatment.verdicts.forecast import signal_level

KnobTarget = Callable[[RemedyContext], float | None]

LARGEST_RAISE = 4.0  # of the learning rate, unless it is compared with what it replaces
NO_MOVE_SHARE = 0.05  # a knob so near to its target is not turned
FAR_FROM_BALANCED = 4.0  # a gate weight within this factor of the balanced one is not the cause
SMALL_BATCH = 16


def turn_to(knob: str, target: KnobTarget, signal: str, direction: Direction) -> Remedy:
    """Turn a knob to a target within its bounds, unless it is there already or pinned."""

    def plan(context: RemedyContext) -> InterventionPlan | None:
        bounds = context.facts.knobs.get(knob)
        if bounds is None or knob in context.facts.pinned:
            return None
        now, position = context.state.knobs[knob], target(context)
        if position is None:
            return None
        position = min(bounds.high, max(bounds.low, position))
        if abs(position - now) <= NO_MOVE_SHARE * max(abs(now), abs(position)):
            return None
        return InterventionPlan(expect_improvement(context, signal, direction), knob=knob, target=position)

    return plan


def turn_by(knob: str, factor: float, signal: str, direction: Direction) -> Remedy:
    """Multiply a knob by a factor; a knob that is switched off is switched on if the factor is above 1."""

    def target(context: RemedyContext) -> float | None:
        now, first = context.state.knobs[knob], context.facts.knobs[knob].first
        return now * factor if now else (first if factor > 1 else None)

    return turn_to(knob, target, signal, direction)


def healthy_learning_rate(context: RemedyContext) -> float | None:
    """The multiplier that brings back the run's own updates or, if they never were healthy, the recipe's rate."""
    evidence, knob = context.diagnosis.evidence, "learning_rate_multiplier"
    if "before" in evidence:
        return context.state.knobs[knob] * evidence["before"] / evidence["update_ratio"]
    now, preset = context.state.knobs[knob], context.facts.knobs[knob].preset
    return None if preset is None else min(preset, LARGEST_RAISE * now)


def stronger_guidance(context: RemedyContext) -> float | None:
    now = context.state.knobs["guide_weight_multiplier"]
    return now * 4 if now else 1.0


def calibrated_gate_threshold(context: RemedyContext) -> float | None:
    return signal_level(context.view, "calibrated_gate_threshold")


def balanced_gate_weight(direction: Direction) -> KnobTarget:
    """The weight at which gates learn to open, and not too early, if it lies far off in this direction."""

    def target(context: RemedyContext) -> float | None:
        now, balanced = context.state.knobs["gate_positive_weight"], context.facts.balanced_gate_weight
        if balanced is None or not (balanced / now if direction == "up" else now / balanced) > FAR_FROM_BALANCED:
            return None
        return balanced

    return target


def twice_the_batches(context: RemedyContext) -> float | None:
    """Twice the batches per update, if the effective batch is small."""
    now = context.state.knobs["batches_per_update"]
    return 2 * now if context.facts.effective_batch_size * now < SMALL_BATCH else None


def tighter_clip_threshold(context: RemedyContext) -> float | None:
    """Twice the median norm before the ailment, at most half of the present clipping threshold."""
    half, usual = context.state.knobs["grad_clip_thresh"] / 2, context.usual_gradient_norm()
    return half if usual is None else min(half, 2 * usual)
