from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from hparams import build_hparams
from recipes import RECIPES
from recipes.facts import CorpusFacts
from recipes.plan import (
    INTERVAL_FIELDS,
    SCALED_FIELDS,
    PlanLength,
    batch_values,
    corpus_values,
    dropout_values,
    schedule_values,
)
from training.schedule import planned_guide_weight, planned_learning_rate

DEMO = build_hparams(RECIPES["tacotron2"].presets["demo"]).model_dump()
REFERENCE = RECIPES["tacotron2"].reference_steps["demo"]


def demo_values(steps: int, steps_per_epoch: int = 143, given: Collection[str] = ()) -> dict[str, int]:
    return schedule_values(DEMO, PlanLength(steps, steps_per_epoch), reference_steps=REFERENCE, given=given)


@pytest.mark.parametrize(("model", "preset"), [(m, p) for m, r in RECIPES.items() for p in r.presets])
def test_a_plan_of_the_reference_length_has_the_presets_own_schedules(model: str, preset: str) -> None:
    recipe = RECIPES[model]
    settings, steps = build_hparams(recipe.presets[preset]).model_dump(), recipe.reference_steps[preset]
    values = schedule_values(settings, PlanLength(steps, steps), reference_steps=steps)
    assert values == {name: settings[name] for name in (*SCALED_FIELDS, *INTERVAL_FIELDS)}


@pytest.mark.parametrize("factor", [0.1, 0.5, 3, 10])
def test_schedules_are_shares_of_the_plan(factor: float) -> None:
    values = demo_values(round(factor * 1_200))
    for name in ("warmup_steps", "decay_start_step", "guide_anneal_start_step"):
        assert values[name] == pytest.approx(factor * DEMO[name], abs=0.5)


def test_values_that_a_person_gave_are_left_alone() -> None:
    assert "warmup_steps" not in demo_values(600, given={"warmup_steps"})


def test_a_long_plan_is_evaluated_every_second_epoch_and_attention_gets_thirty() -> None:
    values = demo_values(20_000)
    assert values["iters_per_evaluation"] == values["iters_per_checkpoint"] == 286
    assert values["alignment_patience_steps"] == 30 * 143


def test_evaluations_take_a_small_share_of_a_short_plan() -> None:
    assert demo_values(1_000)["iters_per_evaluation"] == 200
    assert demo_values(600)["iters_per_evaluation"] == 140  # 32 utterances, each as dear as 3.5 of a batch of 8
    assert demo_values(400)["iters_per_evaluation"] == 100  # but at least four evaluations
    assert demo_values(20)["iters_per_evaluation"] == 10


def test_the_number_of_evaluations_is_bounded() -> None:
    assert demo_values(200_000)["iters_per_evaluation"] == 1_000
    few = demo_values(3_000, steps_per_epoch=1_500)
    assert few["iters_per_evaluation"] == 250


def test_a_tiny_plan_still_has_valid_schedules() -> None:
    for recipe in RECIPES.values():
        for name, preset in recipe.presets.items():
            settings = build_hparams(preset).model_dump()
            values = schedule_values(settings, PlanLength(1, 1), reference_steps=recipe.reference_steps[name])
            build_hparams(preset, values)


def test_values_for_recordings_are_valid_and_no_schedules() -> None:
    for recipe in RECIPES.values():
        assert recipe.recordings.keys() == recipe.presets.keys() == recipe.reference_steps.keys()
        for name, values in recipe.recordings.items():
            build_hparams(recipe.presets[name], values)
            assert {*SCALED_FIELDS, *INTERVAL_FIELDS}.isdisjoint(values)


FACTS = CorpusFacts(utterances=100, hours=0.1, mean_frames=412.0, longest_frames=1200, frames_per_symbol=6.0)


@pytest.mark.parametrize(
    ("frames_per_symbol", "utterances", "values"),
    [
        (6.0, 100, {"batch_size": 8, "n_frames_per_step": 3}),
        (4.4, 100, {"batch_size": 8, "n_frames_per_step": 2}),  # fast speech
        (1.2, 100, {"batch_size": 8, "n_frames_per_step": 1}),
        (6.0, 13, {"batch_size": 3, "n_frames_per_step": 3}),  # few recordings
        (6.0, 2, {"batch_size": 1, "n_frames_per_step": 3}),
    ],
)
def test_batch_and_reduction_factor_suit_the_corpus(
    frames_per_symbol: float, utterances: int, values: dict[str, int]
) -> None:
    facts = replace(FACTS, frames_per_symbol=frames_per_symbol, utterances=utterances)
    assert batch_values(DEMO, facts, has_attention=True) == values
    assert batch_values(DEMO, facts, has_attention=False, given={"batch_size"}) == {}


@pytest.mark.parametrize("model", ["tacotron2", "glow_tts"])
@pytest.mark.parametrize("preset", ["full", "small"])
def test_a_short_plan_of_a_large_preset_has_the_course_of_the_demo(model: str, preset: str) -> None:
    recipe = RECIPES[model]
    assert recipe.least_steps[preset] < recipe.short_plan_steps(preset) < recipe.reference_steps[preset]
    assert recipe.short_plan_steps("demo") == 0
    steps, short = recipe.least_steps[preset], recipe.short_plans[preset]
    hparams = build_hparams(recipe.presets[preset], short)
    values = schedule_values(hparams.model_dump(), PlanLength(steps, steps // 20), reference_steps=steps)
    hparams = build_hparams(hparams.model_dump(), values)
    rates = [planned_learning_rate(share * steps, hparams) / hparams.learning_rate for share in (0.04, 0.4, 1.0)]
    assert rates == pytest.approx([1.0, 1.0, 0.03], abs=0.01)
    assert hparams.alignment_patience_steps == pytest.approx(0.3 * steps)
    assert planned_guide_weight(0.5 * steps, hparams) == 0.0


def test_many_passes_over_the_recordings_need_dropout() -> None:
    dropout = RECIPES["tacotron2"].dropout
    assert dropout_values(DEMO, dropout, epochs=39.9) == {}
    assert dropout_values(DEMO, dropout, epochs=40) == dropout
    assert "p_encoder_dropout" not in dropout_values(DEMO, dropout, epochs=40, given={"p_encoder_dropout"})
    stronger = DEMO | {"p_decoder_dropout": 0.4}
    assert dropout_values(stronger, dropout, epochs=40)["p_decoder_dropout"] == 0.4


def test_lengths_of_the_recordings_set_the_gates_weight_and_the_longest_synthesis() -> None:
    assert corpus_values(DEMO, FACTS, has_gate=True) == {"max_decoder_steps": 500, "gate_positive_weight": 68.7}
    assert corpus_values(DEMO, FACTS, has_gate=True, given={"gate_positive_weight"}) == {"max_decoder_steps": 500}
    assert corpus_values(DEMO | {"max_decoder_steps": 2_000}, FACTS, has_gate=False) == {"max_decoder_steps": 2_000}
