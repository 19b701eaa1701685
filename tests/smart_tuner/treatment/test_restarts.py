"""Knobs of a restart: the preset's settings where the run's were far from them, else a healthy update ratio."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reports import TrainerOrder
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import KnobFacts
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import SupervisorState
from smart_tuner.treatment.knob_remedies import HEALTHY_FIRST_RATIO, HEALTHY_UPDATE_RATIO
from smart_tuner.treatment.remedies import RemedyContext
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT
from smart_tuner.treatment.restarts import restart, restart_with_preset
from tests.smart_tuner.histories import every, make_facts, make_view


def rate(preset: float | None) -> dict[str, KnobFacts]:
    return {"learning_rate_multiplier": KnobFacts(start=1.0, low=1 / 256, high=256.0, preset=preset)}


def case_of(
    ailment: str,
    knobs: dict[str, KnobFacts],
    *,
    ratio: float = 0.1,
    step: int = 30,
    evidence: dict[str, float] | None = None,
    **facts: Any,
) -> RemedyContext:
    view = make_view({"update_ratio": every(10, [ratio] * (step // 10))}, make_facts(knobs=knobs, **facts))
    memory = SupervisorState(knobs={name: knob.start for name, knob in knobs.items()})
    diagnosis = Diagnosis(ailment, "critical", step, 1, evidence or {})
    return RemedyContext(diagnosis, view, memory, SupervisionSettings(), may_roll_back=True)


with_preset = restart_with_preset("free_diagonality", "up")


def restarted(
    ailment: str, knobs: dict[str, KnobFacts], *, ratio: float = 0.1, factor: float = 0.5, **facts: Any
) -> TrainerOrder:
    case = case_of(ailment, knobs, ratio=ratio, **facts)
    plan = restart("total_loss", "down", learning_rate_factor=factor)(case)
    assert plan is not None
    (order,) = plan.orders
    return order


@pytest.mark.parametrize(
    ("ailment", "preset", "expected"),
    [
        ("learning_rate_too_high", 1 / 30, 1 / 30),
        ("learning_rate_too_high", 2.0, HEALTHY_UPDATE_RATIO / 0.1),
        ("learning_rate_too_high", None, HEALTHY_UPDATE_RATIO / 0.1),
        ("learning_rate_too_low", 100.0, 100.0),
        ("learning_rate_too_low", 0.5, HEALTHY_FIRST_RATIO / 0.1),
        ("exploding_gradient", 1 / 30, 1 / 30),
        ("exploding_gradient", 2.0, 0.5),
        ("exploding_gradient", None, 0.5),
    ],
)
def test_the_learning_rate_of_a_new_start(ailment: str, preset: float | None, expected: float) -> None:
    assert restarted(ailment, rate(preset)).knobs == {"learning_rate_multiplier": pytest.approx(expected)}


def test_a_knob_of_an_older_state_that_the_model_has_no_use_for_is_not_turned() -> None:
    case = case_of("exploding_gradient", rate(None))
    case.state.knobs["guide_weight_multiplier"] = 0.0  # as GlowTTS was given once
    plan = restart("total_loss", "down")(case)
    assert plan is not None and plan.orders[0].knobs.keys() == {"learning_rate_multiplier"}


def test_once_at_the_presets_rate_a_slower_start_is_slower() -> None:
    order = restarted("loss_spike", rate(1.0), factor=0.1)
    assert order.knobs == {"learning_rate_multiplier": pytest.approx(0.1)}


@pytest.mark.parametrize("preset", [10.0, 0.1])
def test_attention_that_does_not_form_gets_the_presets_rate_whichever_way_it_lies(preset: float) -> None:
    plan = with_preset(case_of("attention_not_forming", rate(preset)))
    assert plan is not None and plan.orders[0].knobs == {"learning_rate_multiplier": preset}


def test_a_new_start_with_the_preset_is_for_those_that_are_far_from_it_and_not_too_late() -> None:
    far: dict[str, Any] = {"preset_settings": {"weight_decay": 1e-6}, "planned_steps": 100}
    plan = with_preset(case_of("attention_not_forming", rate(None), step=50, **far))
    assert plan is not None and plan.orders[0].hparams == {"weight_decay": 1e-6}
    assert plan.orders[0].knobs == {"learning_rate_multiplier": 1.0}
    assert with_preset(case_of("attention_not_forming", rate(None), step=60, **far)) is None
    assert with_preset(case_of("attention_not_forming", rate(None))) is None
    assert with_preset(case_of("attention_not_forming", rate(1.0))) is None  # it stands there already
    gate = rate(None) | {"gate_positive_weight": KnobFacts(start=3000.0, low=0.1, high=3000.0, preset=12.0)}
    plan = with_preset(case_of("attention_not_forming", gate))
    assert plan is not None and plan.orders[0].knobs["gate_positive_weight"] == 12.0
    guide = rate(None) | {"guide_sigma": KnobFacts(start=0.05, low=0.05, high=1.0, preset=0.4)}
    assert with_preset(case_of("attention_not_forming", guide)) is None  # it can be mended later too


def test_other_settings_are_the_presets_too_unless_pinned() -> None:
    knobs = rate(None) | {
        "guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25, preset=4.0),
        "guide_sigma": KnobFacts(start=0.1, low=0.05, high=1.0, preset=0.4),
        "grad_clip_thresh": KnobFacts(start=1e9, low=0.01, high=1e9, preset=5.0),
        "gate_threshold": KnobFacts(start=0.5, low=0.05, high=0.95),
    }
    order = restarted("loss_spike", knobs, preset_settings={"weight_decay": 1e-6}, pinned=("grad_clip_thresh",))
    assert order.knobs == {"learning_rate_multiplier": 0.5, "guide_weight_multiplier": 4.0, "guide_sigma": 0.4}
    assert order.hparams == {"weight_decay": 1e-6}


def test_a_rate_whose_updates_were_healthy_is_not_what_is_wrong() -> None:
    turn = REMEDIES_BY_AILMENT["learning_rate_too_low"]["healthy_learning_rate"]
    assert turn(case_of("learning_rate_too_low", rate(None), ratio=1e-5)) is not None
    frozen = case_of("learning_rate_too_low", rate(None), ratio=1e-5, evidence={"before": 0.004})
    assert turn(frozen) is None


@pytest.mark.parametrize("ailment", ["learning_rate_too_low", "learning_rate_too_high"])
def test_what_was_healthy_before_is_not_begun_anew_at_once(ailment: str) -> None:
    ladder = REMEDIES_BY_AILMENT[ailment]
    assert ladder["restart"](case_of(ailment, rate(0.1))) is not None
    assert ladder["restart"](case_of(ailment, rate(0.1), evidence={"before": 0.004})) is None
    with_preset = REMEDIES_BY_AILMENT["learning_rate_too_high"]["restart_with_preset"]
    assert with_preset(case_of("learning_rate_too_high", rate(0.1), evidence={"before": 0.004})) is None


def test_what_never_had_a_healthy_rate_does_not_find_it_by_going_back() -> None:
    go_back = REMEDIES_BY_AILMENT["learning_rate_too_high"]["roll_back"]
    for evidence, is_possible in (({}, False), ({"before": 0.004}, True)):
        case = case_of("learning_rate_too_high", rate(None), evidence=evidence)
        case.state.checkpoints = [20]
        sick_since = replace(case.diagnosis, since=25)
        assert (go_back(replace(case, diagnosis=sick_since)) is not None) is is_possible


def test_a_new_start_of_what_was_healthy_before_does_not_believe_the_present_updates() -> None:
    late = REMEDIES_BY_AILMENT["learning_rate_too_high"]["restart_late"]
    plan = late(case_of("learning_rate_too_high", rate(None), evidence={"before": 0.004}))
    assert plan is not None and plan.orders[0].knobs == {"learning_rate_multiplier": 0.5}


@pytest.mark.parametrize("ailment", ["learning_rate_too_low", "learning_rate_too_high"])
def test_updates_measured_with_other_settings_say_nothing_of_the_rate(ailment: str) -> None:
    order = restarted(ailment, rate(None), preset_settings={"adam_beta2": 0.98})
    assert order.knobs == {"learning_rate_multiplier": 1.0} and order.hparams == {"adam_beta2": 0.98}


def test_without_a_preset_for_it_guidance_is_switched_on_carefully() -> None:
    knobs = rate(None) | {"guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25)}
    assert restarted("loss_spike", knobs).knobs["guide_weight_multiplier"] == 0.25


def test_after_a_new_start_the_facts_are_those_of_its_settings() -> None:
    facts = make_facts(
        warmup_steps=1000, n_frames_per_step=2, preset_settings={"warmup_steps": 20, "weight_decay": 0.1}
    )
    amended = facts.after_restart({"warmup_steps": 20, "weight_decay": 0.1})
    assert (amended.warmup_steps, amended.n_frames_per_step, amended.preset_settings) == (20, 2, {})
    assert facts.after_restart({"n_frames_per_step": 4}).n_frames_per_step == 4
