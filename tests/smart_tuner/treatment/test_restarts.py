"""Restarts: the settings and knobs that an attempt starts with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reports import TrainerOrder
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import KnobFacts
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.remedies import RemedyContext
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT
from smart_tuner.treatment.restarts import restart, restart_with_preset
from tests.smart_tuner.histories import every, make_facts, make_view

WAS_HEALTHY = {"update_ratio": 0.1, "before": 0.004}


def rate_knob(preset: float | None) -> dict[str, KnobFacts]:
    return {"learning_rate_multiplier": KnobFacts(start=1.0, low=1 / 256, high=256.0, preset=preset)}


def context_of(
    ailment: str,
    knobs: dict[str, KnobFacts],
    *,
    step: int = 30,
    evidence: dict[str, float] | None = None,
    **facts: Any,
) -> RemedyContext:
    view = make_view({"update_ratio": every(10, [0.1] * (step // 10))}, make_facts(knobs=knobs, **facts))
    state = SupervisorState(knobs={name: knob.start for name, knob in knobs.items()})
    diagnosis = Diagnosis(ailment, "critical", step, 1, evidence or {})
    return RemedyContext(diagnosis, view, state, SupervisionSettings(), may_roll_back=True)


restart_to_preset = restart_with_preset("free_diagonality", "up")


def order_of(ailment: str, knobs: dict[str, KnobFacts], *, factor: float = 0.5, **facts: Any) -> TrainerOrder:
    context = context_of(ailment, knobs, **facts)
    plan = restart("total_loss", "down", learning_rate_factor=factor)(context)
    assert plan is not None
    (order,) = plan.orders
    return order


@pytest.mark.parametrize(
    ("ailment", "preset", "expected"),
    [
        ("learning_rate_too_high", 1 / 30, 1 / 30),
        ("learning_rate_too_low", 100.0, 100.0),
        ("exploding_gradient", 1 / 30, 1 / 30),
        ("exploding_gradient", 2.0, 0.5),
        ("exploding_gradient", None, 0.5),
    ],
)
def test_the_learning_rate_of_a_restart(ailment: str, preset: float | None, expected: float) -> None:
    assert order_of(ailment, rate_knob(preset)).knobs == {"learning_rate_multiplier": pytest.approx(expected)}


def test_a_knob_of_an_older_state_without_effect_is_not_turned() -> None:
    context = context_of("exploding_gradient", rate_knob(None))
    context.state.knobs["guide_weight_multiplier"] = 0.0  # which earlier versions gave GlowTTS
    plan = restart("total_loss", "down")(context)
    assert plan is not None and plan.orders[0].knobs.keys() == {"learning_rate_multiplier"}


def test_a_slower_restart_is_slower_than_the_presets_rate() -> None:
    order = order_of("loss_spike", rate_knob(1.0), factor=0.1)
    assert order.knobs == {"learning_rate_multiplier": pytest.approx(0.1)}


@pytest.mark.parametrize("preset", [10.0, 0.1])
def test_attention_that_does_not_form_gets_the_presets_rate_higher_or_lower(preset: float) -> None:
    plan = restart_to_preset(context_of("attention_not_forming", rate_knob(preset)))
    assert plan is not None and plan.orders[0].knobs == {"learning_rate_multiplier": preset}


def test_a_restart_with_the_preset_needs_settings_far_from_it_and_enough_time() -> None:
    far: dict[str, Any] = {"preset_settings": {"weight_decay": 1e-6}, "planned_steps": 100}
    plan = restart_to_preset(context_of("attention_not_forming", rate_knob(None), step=60, **far))
    assert plan is not None and plan.orders[0].hparams == {"weight_decay": 1e-6}
    assert plan.orders[0].knobs == {"learning_rate_multiplier": 1.0}
    assert restart_to_preset(context_of("attention_not_forming", rate_knob(None), step=70, **far)) is None
    assert restart_to_preset(context_of("attention_not_forming", rate_knob(None))) is None
    is_at_preset = rate_knob(1.0)
    assert restart_to_preset(context_of("attention_not_forming", is_at_preset)) is None
    gate = rate_knob(None) | {"gate_positive_weight": KnobFacts(start=3000.0, low=0.1, high=3000.0, preset=12.0)}
    plan = restart_to_preset(context_of("attention_not_forming", gate))
    assert plan is not None and plan.orders[0].knobs["gate_positive_weight"] == 12.0
    guide = rate_knob(None) | {"guide_sigma": KnobFacts(start=0.05, low=0.05, high=1.0, preset=0.4)}
    assert restart_to_preset(context_of("attention_not_forming", guide)) is None  # guidance can be corrected later


def test_all_knobs_get_the_presets_positions_unless_pinned() -> None:
    knobs = rate_knob(None) | {
        "guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25, preset=4.0),
        "guide_sigma": KnobFacts(start=0.1, low=0.05, high=1.0, preset=0.4),
        "grad_clip_thresh": KnobFacts(start=1e9, low=0.01, high=1e9, preset=5.0),
        "gate_threshold": KnobFacts(start=0.5, low=0.05, high=0.95),
    }
    order = order_of("loss_spike", knobs, preset_settings={"weight_decay": 1e-6}, pinned=("grad_clip_thresh",))
    assert order.knobs == {"learning_rate_multiplier": 0.5, "guide_weight_multiplier": 4.0, "guide_sigma": 0.4}
    assert order.hparams == {"weight_decay": 1e-6}


def test_the_learning_rate_is_not_raised_if_updates_were_healthy_before() -> None:
    turn = REMEDIES_BY_AILMENT["learning_rate_too_low"]["healthy_learning_rate"]
    plan = turn(context_of("learning_rate_too_low", rate_knob(100.0)))
    assert plan is not None and plan.target == 4.0
    assert turn(context_of("learning_rate_too_low", rate_knob(100.0), evidence=WAS_HEALTHY)) is None


@pytest.mark.parametrize(
    ("evidence", "preset", "target"),
    [
        (WAS_HEALTHY, 0.1, 0.04),  # the run's own updates count more than the recipe's rate
        (WAS_HEALTHY, None, 0.04),
        ({"update_ratio": 0.1}, 0.1, 0.1),
        ({"update_ratio": 0.1}, None, None),
    ],
)
def test_a_high_learning_rate_is_lowered_to_the_runs_own_updates_or_the_recipes_rate(
    evidence: dict[str, float], preset: float | None, target: float | None
) -> None:
    turn = REMEDIES_BY_AILMENT["learning_rate_too_high"]["healthy_learning_rate"]
    plan = turn(context_of("learning_rate_too_high", rate_knob(preset), evidence=evidence))
    assert (None if plan is None else plan.target) == (None if target is None else pytest.approx(target))


@pytest.mark.parametrize("ailment", ["learning_rate_too_low", "learning_rate_too_high"])
def test_a_run_that_was_healthy_is_not_restarted_first(ailment: str) -> None:
    remedies = REMEDIES_BY_AILMENT[ailment]
    assert remedies["restart"](context_of(ailment, rate_knob(0.1))) is not None
    assert remedies["restart"](context_of(ailment, rate_knob(0.1), evidence=WAS_HEALTHY)) is None
    restart_to_preset = REMEDIES_BY_AILMENT["learning_rate_too_high"]["restart_with_preset"]
    was_healthy = context_of("learning_rate_too_high", rate_knob(0.1), evidence=WAS_HEALTHY)
    assert restart_to_preset(was_healthy) is None


def test_a_run_that_never_was_healthy_is_not_rolled_back() -> None:
    roll_back = REMEDIES_BY_AILMENT["learning_rate_too_high"]["roll_back"]
    for evidence, is_possible in (({}, False), (WAS_HEALTHY, True)):
        context = context_of("learning_rate_too_high", rate_knob(None), evidence=evidence)
        context.state.checkpoints = [20]
        diagnosis = replace(context.diagnosis, since=25)
        assert (roll_back(replace(context, diagnosis=diagnosis)) is not None) is is_possible


def test_a_restart_of_a_run_that_was_healthy_ignores_its_present_updates() -> None:
    restart_late = REMEDIES_BY_AILMENT["learning_rate_too_high"]["restart_late"]
    plan = restart_late(context_of("learning_rate_too_high", rate_knob(None), evidence=WAS_HEALTHY))
    assert plan is not None and plan.orders[0].knobs == {"learning_rate_multiplier": 0.5}


@pytest.mark.parametrize(("ailment", "preset"), [("learning_rate_too_low", 100.0), ("learning_rate_too_high", 1 / 30)])
def test_a_restart_with_the_presets_settings_has_its_learning_rate(ailment: str, preset: float) -> None:
    order = order_of(ailment, rate_knob(preset), preset_settings={"adam_beta2": 0.98})
    assert order.knobs == {"learning_rate_multiplier": preset} and order.hparams == {"adam_beta2": 0.98}


def test_guidance_without_a_preset_is_switched_on_at_its_first_position() -> None:
    knobs = rate_knob(None) | {"guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25)}
    assert order_of("loss_spike", knobs).knobs["guide_weight_multiplier"] == 0.25


def test_facts_after_a_restart_contain_its_settings() -> None:
    facts = make_facts(
        warmup_steps=1000, n_frames_per_step=2, preset_settings={"warmup_steps": 20, "weight_decay": 0.1}
    )
    amended = facts.after_restart({"warmup_steps": 20, "weight_decay": 0.1})
    assert (amended.warmup_steps, amended.n_frames_per_step, amended.preset_settings) == (20, 2, {})
    assert facts.after_restart({"n_frames_per_step": 4}).n_frames_per_step == 4


@pytest.mark.parametrize(
    ("diagonality", "guidance", "applies"), [(0.4, 1.0, True), (0.2, 1.0, False), (0.4, 0.0, False)]
)
def test_attention_that_stays_half_formed_under_guidance_begins_anew(
    diagonality: float, guidance: float, applies: bool
) -> None:
    knobs = rate_knob(None) | {
        "guide_weight_multiplier": KnobFacts(start=guidance, low=0.0, high=8.0, first=0.25),
    }
    evidence = {"diagonality": diagonality, "free_diagonality": diagonality - 0.1}
    context = context_of("attention_not_forming", knobs, evidence=evidence)
    plan = REMEDIES_BY_AILMENT["attention_not_forming"]["restart_from_half"](context)
    assert (plan is not None) is applies
    if plan is not None:
        (order,) = plan.orders
        assert order.action == "restart" and order.knobs == {"learning_rate_multiplier": 1.0}
