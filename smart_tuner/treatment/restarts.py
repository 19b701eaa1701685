"""Remedies that restart training from scratch, with another seed and safer settings, if a whole run can be afforded."""

from __future__ import annotations

from dataclasses import replace

from reports import TrainerOrder
from smart_tuner.treatment.interventions import Direction, Expectation, InterventionPlan
from smart_tuner.treatment.knob_remedies import balanced_gate_weight
from smart_tuner.treatment.remedies import Remedy, RemedyContext
from smart_tuner.treatment.verdicts.forecast import signal_level

LATEST_SHARE = 0.6  # of the plan: a later restart costs more than it is worth
MAX_FRAMES_PER_STEP = 10
MAX_PRIOR = 10_000.0
KNOBS_FROM_THE_START = ("learning_rate_multiplier", "gate_positive_weight")
"""Knobs whose position matters from the first step; guidance, for example, can be corrected later."""


def restart(
    signal: str, direction: Direction, *, until_share: float = 1.0, learning_rate_factor: float = 0.5
) -> Remedy:
    """Restart up to this share of the plan; the signal is compared after as many steps as were done before."""

    def plan(context: RemedyContext) -> InterventionPlan | None:
        planned = context.facts.planned_steps
        if context.remaining_work < planned or context.view.attempt_steps > until_share * planned:
            return None
        by_step = context.view.step + max(context.view.attempt_steps, context.facts.window_steps)
        expected = Expectation(signal, direction, by_step, signal_level(context.view, signal), 0.05)
        knobs = _safer_knobs(context, learning_rate_factor)
        order = TrainerOrder("restart", knobs=knobs, hparams=context.facts.preset_settings)
        return InterventionPlan(expected, (order,))

    return plan


def restart_with_preset(signal: str, direction: Direction) -> Remedy:
    """Restart with the preset's settings, if those that matter from the first step are far from them."""
    plan_restart = restart(signal, direction, until_share=LATEST_SHARE, learning_rate_factor=1.0)

    def plan(context: RemedyContext) -> InterventionPlan | None:
        knobs, now = context.facts.knobs, context.state.knobs
        is_far = any(name in knobs and knobs[name].preset not in (None, now[name]) for name in KNOBS_FROM_THE_START)
        return plan_restart(context) if is_far or context.facts.preset_settings else None

    return plan


def restart_with_larger_steps(context: RemedyContext) -> InterventionPlan | None:
    """Restart with twice as many frames per decoder step, so that attention has half as many steps to align."""
    frames = context.facts.n_frames_per_step
    plan = restart("free_diagonality", "up")(context)
    if plan is None or frames is None or 2 * frames > MAX_FRAMES_PER_STEP:
        return None
    (order,) = plan.orders
    return replace(plan, orders=(replace(order, hparams={**order.hparams, "n_frames_per_step": 2 * frames}),))


def restart_with_stronger_prior(context: RemedyContext) -> InterventionPlan | None:
    """Restart with the alignment that is searched for drawn ten times as strongly to where it is expected."""
    prior = context.facts.alignment_prior
    plan = restart("free_diagonality", "up", learning_rate_factor=1.0)(context)
    if plan is None or prior is None or not 0 < 10 * prior <= MAX_PRIOR:
        return None
    (order,) = plan.orders
    return replace(plan, orders=(replace(order, hparams={**order.hparams, "alignment_prior": 10 * prior}),))


def restart_with_balanced_gate(context: RemedyContext) -> InterventionPlan | None:
    """Restart with a balanced gate weight: too much weight of the gate prevented learning of the rest."""
    weight = balanced_gate_weight("down")(context)
    plan = restart("gate_premature", "down", until_share=LATEST_SHARE, learning_rate_factor=1.0)(context)
    if plan is None or weight is None or "gate_positive_weight" in context.facts.pinned:
        return None
    (order,) = plan.orders
    knobs = {**order.knobs, "gate_positive_weight": weight}
    return replace(plan, orders=(replace(order, knobs=knobs),))


def _safer_knobs(context: RemedyContext, learning_rate_factor: float) -> dict[str, float]:
    """The preset's positions, a safer learning rate, guidance switched on; pinned knobs stay."""
    facts, knobs = context.facts, context.state.knobs
    positions = {name: knob.preset for name, knob in facts.knobs.items() if knob.preset is not None}
    if "learning_rate_multiplier" in knobs:
        positions["learning_rate_multiplier"] = _safer_learning_rate(context, learning_rate_factor)
    guide = facts.knobs.get("guide_weight_multiplier")  # None for a model without guided attention
    if guide is not None and not knobs.get("guide_weight_multiplier", 1.0):
        positions.setdefault("guide_weight_multiplier", guide.first or 1.0)
    return {
        name: min(facts.knobs[name].high, max(facts.knobs[name].low, position))
        for name, position in positions.items()
        if name not in facts.pinned
    }


def _safer_learning_rate(context: RemedyContext, factor: float) -> float:
    """The preset's if that is safer, or else the present one times the factor."""
    now, facts = context.state.knobs["learning_rate_multiplier"], context.facts
    preset = facts.knobs["learning_rate_multiplier"].preset
    too_low, too_high = (context.diagnosis.ailment == f"learning_rate_too_{end}" for end in ("low", "high"))
    if preset is not None and (preset > now if too_low else preset < now or (factor == 1.0 and not too_high)):
        return preset
    return now * factor
