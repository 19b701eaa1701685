"""Remedies that begin anew: from scratch with another seed and safer settings, while there is time for a whole run."""

from __future__ import annotations

from dataclasses import replace

from reports import TrainerOrder
from smart_tuner.treatment.follow_up import level
from smart_tuner.treatment.interventions import Direction, Expectation, InterventionPlan
from smart_tuner.treatment.remedies import Case, Remedy, balanced_gate_weight, rate_for_healthy_updates

HALF_WAY = 0.5  # of the plan: later a new start costs more than it is worth
MOST_FRAMES_PER_STEP = 10
COUNT_FROM_THE_START = ("learning_rate_multiplier", "gate_positive_weight")  # guidance can still be mended later


def restart(
    signal: str, direction: Direction, *, until_share: float = 1.0, learning_rate_factor: float = 0.5
) -> Remedy:
    """From scratch with another seed and safer settings, while there is time for a whole run."""

    def plan(case: Case) -> InterventionPlan | None:
        planned = case.facts.planned_steps
        if case.can_afford < planned or case.view.steps_done > until_share * planned:
            return None
        steps_done = max(case.view.steps_done, case.facts.window_steps)
        sick = level(case.view, signal)
        promise = Expectation(signal, direction, case.view.step + steps_done, sick, 0.05)
        knobs = _safer_knobs(case, learning_rate_factor)
        return InterventionPlan(promise, (TrainerOrder("restart", knobs=knobs, hparams=case.facts.preset_settings),))

    return plan


def restart_with_preset(signal: str, direction: Direction) -> Remedy:
    """Settings that count from the first step on and are far from the preset's may be why."""
    begin_anew = restart(signal, direction, until_share=HALF_WAY, learning_rate_factor=1.0)

    def plan(case: Case) -> InterventionPlan | None:
        knobs, now = case.facts.knobs, case.state.knobs
        far = [name for name in COUNT_FROM_THE_START if name in knobs and knobs[name].preset not in (None, now[name])]
        return begin_anew(case) if far or case.facts.preset_settings else None

    return plan


def restart_with_larger_steps(case: Case) -> InterventionPlan | None:
    """Twice as many frames a decoder step: attention has half as many steps to find its way through."""
    frames = case.facts.n_frames_per_step
    plan = restart("free_diagonality", "up")(case)
    if plan is None or frames is None or 2 * frames > MOST_FRAMES_PER_STEP:
        return None
    (order,) = plan.orders
    return replace(plan, orders=(replace(order, hparams={**order.hparams, "n_frames_per_step": 2 * frames}),))


def restart_with_balanced_gate(case: Case) -> InterventionPlan | None:
    """A gate that outweighed everything else has kept the rest from being learnt."""
    weight = balanced_gate_weight("down")(case)
    plan = restart("gate_premature", "down", until_share=HALF_WAY, learning_rate_factor=1.0)(case)
    if plan is None or weight is None or "gate_positive_weight" in case.facts.pinned:
        return None
    (order,) = plan.orders
    knobs = {**order.knobs, "gate_positive_weight": weight}
    return replace(plan, orders=(replace(order, knobs=knobs),))


def _safer_knobs(case: Case, learning_rate_factor: float) -> dict[str, float]:
    """Those of the preset where this run's differ, a safer learning rate, guidance on; nothing that is pinned."""
    facts, knobs = case.facts, case.state.knobs
    wanted = {name: known.preset for name, known in facts.knobs.items() if known.preset is not None}
    if "learning_rate_multiplier" in knobs:
        wanted["learning_rate_multiplier"] = _safer_rate(case, learning_rate_factor)
    guide = facts.knobs.get("guide_weight_multiplier")  # None for a model without guided attention
    if guide is not None and not knobs.get("guide_weight_multiplier", 1.0):
        wanted.setdefault("guide_weight_multiplier", guide.first or 1.0)
    return {
        name: min(facts.knobs[name].high, max(facts.knobs[name].low, value))
        for name, value in wanted.items()
        if name not in facts.pinned
    }


def _safer_rate(case: Case, factor: float) -> float:
    """The preset's, if it lies on the better side; else one whose updates are healthy, or a part of the present one."""
    now, preset = case.state.knobs["learning_rate_multiplier"], case.facts.knobs["learning_rate_multiplier"].preset
    too_low, too_high = (case.diagnosis.ailment == f"learning_rate_too_{end}" for end in ("low", "high"))
    better = preset is not None and (preset > now if too_low else preset < now or (factor == 1.0 and not too_high))
    if preset is not None and better:
        return preset
    if not (too_low or too_high) or "before" in case.diagnosis.evidence:
        return now * factor
    if case.facts.preset_settings:
        return now  # updates were measured with settings that will be others
    return rate_for_healthy_updates(case) or now * factor
