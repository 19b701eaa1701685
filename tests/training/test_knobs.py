from __future__ import annotations

from dataclasses import asdict

from hparams import HParams
from models import ARCHITECTURES
from tests.support.tiny import GLOW, tiny_hparams
from training.knobs import KNOB_BOUNDS, KNOB_NAMES, RECIPE_FIELDS, Knobs, knobs_with_effect
from training.schedule import FALLBACK_GUIDE_WEIGHT, PhasePlan

RECIPE = HParams(
    guide_loss_weight=2.0,
    guide_sigma=0.3,
    gate_positive_weight=5.0,
    grad_clip_thresh=0.7,
    guide_anneal_start_step=10,
    guide_anneal_steps=10,
)


def test_knobs_start_at_the_settings_of_the_recipe() -> None:
    assert asdict(Knobs.from_hparams(RECIPE)) == {
        "learning_rate_multiplier": 1.0,
        "guide_weight_multiplier": 1.0,
        "guide_sigma": 0.3,
        "gate_positive_weight": 5.0,
        "gate_threshold": 0.5,
        "grad_clip_thresh": 0.7,
        "duration_loss_weight": 1.0,
        "micro_batches": 1.0,
        "batches_per_update": 1.0,
    }
    assert tuple(asdict(Knobs.from_hparams(RECIPE))) == KNOB_NAMES


def test_losses_use_the_planned_guide_weight_times_its_multiplier() -> None:
    knobs = Knobs.from_hparams(RECIPE)
    knobs.guide_weight_multiplier, knobs.guide_sigma, knobs.gate_positive_weight = 1.5, 0.2, 6.0
    assert knobs.for_losses(1, RECIPE) == {"guide_weight": 3.0, "guide_sigma": 0.2, "gate_positive_weight": 6.0}
    assert knobs.for_losses(15, RECIPE) == {"guide_weight": 1.5, "guide_sigma": 0.2, "gate_positive_weight": 6.0}


def test_recipe_without_guidance_starts_with_a_multiplier_of_zero() -> None:
    recipe = RECIPE.model_copy(update={"guide_loss_weight": 0.0})
    knobs = Knobs.from_hparams(recipe)
    assert knobs.guide_weight_multiplier == 0.0 and knobs.for_losses(1, recipe)["guide_weight"] == 0.0
    knobs.guide_weight_multiplier = 0.5
    assert knobs.for_losses(1, recipe)["guide_weight"] == FALLBACK_GUIDE_WEIGHT / 2


def test_phase_scales_guide_weight_and_sigma() -> None:
    knobs = Knobs.from_hparams(RECIPE)
    plan = PhasePlan(guide_weight_share=3.0, guide_sigma_share=0.5)
    assert knobs.for_losses(1, RECIPE, plan) == {"guide_weight": 6.0, "guide_sigma": 0.15, "gate_positive_weight": 5.0}


def test_every_knob_has_bounds_and_starts_within_them() -> None:
    assert tuple(KNOB_BOUNDS) == KNOB_NAMES
    for name, start in asdict(Knobs.from_hparams(HParams())).items():
        assert KNOB_BOUNDS[name].low <= start <= KNOB_BOUNDS[name].high


def test_knob_that_starts_at_zero_has_a_first_position() -> None:
    first = KNOB_BOUNDS["guide_weight_multiplier"].first
    assert first is not None and 0 < first <= KNOB_BOUNDS["guide_weight_multiplier"].high
    assert all(bounds.low > 0 or bounds.first for bounds in KNOB_BOUNDS.values())


def test_multiplied_fields_are_settings_of_the_recipe() -> None:
    assert set(RECIPE_FIELDS) <= set(KNOB_NAMES) and set(RECIPE_FIELDS.values()) <= set(HParams.model_fields)


def test_a_model_has_a_use_for_the_knobs_of_its_own_loss_and_gate_only() -> None:
    guide_and_gate = {"guide_weight_multiplier", "guide_sigma", "gate_positive_weight", "gate_threshold"}
    assert set(knobs_with_effect(tiny_hparams())) == set(KNOB_NAMES) - {"duration_loss_weight"}
    assert set(knobs_with_effect(tiny_hparams(**GLOW))) == set(KNOB_NAMES) - guide_and_gate


def test_a_model_gets_exactly_the_loss_knobs_that_it_declares() -> None:
    for hparams in (tiny_hparams(), tiny_hparams(**GLOW)):
        loss_knobs = Knobs.from_hparams(hparams).for_losses(1, hparams)
        assert tuple(loss_knobs) == ARCHITECTURES[hparams.model].LOSS_KNOBS
