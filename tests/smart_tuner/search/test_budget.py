from __future__ import annotations

import pytest

from hparams import HParams, build_hparams
from recipes import RECIPES
from smart_tuner.search.budget import TrialBudget, full_recipe, plan_budget, trial_recipe
from smart_tuner.search.settings import SearchSettings

DEMO_RECIPE = build_hparams(RECIPES["tacotron2"].presets["demo"])


def budget(recipe: HParams = DEMO_RECIPE, full_steps: int = 1200, **settings: int) -> TrialBudget:
    return plan_budget(SearchSettings(**settings), recipe, full_steps=full_steps, from_step=None)


def test_a_trial_lasts_five_thirds_of_the_alignment_patience() -> None:
    assert budget() == TrialBudget(steps=600, full_steps=1200, evaluations=5, first_pruned=3)


def test_a_trial_is_no_longer_than_the_whole_training() -> None:
    assert budget(full_steps=500).steps == 500
    assert budget(full_steps=500).first_pruned == 4  # 360 steps end at the fourth of five evaluations
    assert budget(full_steps=300).first_pruned == 5
    assert budget(full_steps=3) == TrialBudget(steps=3, full_steps=3, evaluations=3, first_pruned=3)


def test_the_length_of_a_trial_can_be_set() -> None:
    assert budget(trial_steps=100, evaluations=4) == TrialBudget(100, 1200, evaluations=4, first_pruned=4)


def test_a_trial_with_another_batch_size_sees_as_many_utterances() -> None:
    changed = build_hparams(RECIPES["tacotron2"].presets["demo"], {"batch_size": 16})
    assert budget().steps_of(DEMO_RECIPE, changed) == 300
    assert budget().steps_of(DEMO_RECIPE, DEMO_RECIPE) == 600


def test_the_learning_rate_decays_as_far_as_in_the_whole_training() -> None:
    recipe = trial_recipe(DEMO_RECIPE, {}, budget())
    assert recipe.decay_start_step / 600 == pytest.approx(DEMO_RECIPE.decay_start_step / 1200)
    assert recipe.decay_half_life_steps == round(DEMO_RECIPE.decay_half_life_steps * 0.5)


def test_schedules_of_attention_are_not_shortened() -> None:
    recipe = trial_recipe(DEMO_RECIPE, {}, budget())
    for name in ("warmup_steps", "guide_anneal_start_step", "guide_anneal_steps", "alignment_patience_steps"):
        assert getattr(recipe, name) == getattr(DEMO_RECIPE, name)


def test_evaluations_are_at_equal_distances_for_every_batch_size() -> None:
    for batch_size in (4, 8, 13, 16):
        recipe = trial_recipe(DEMO_RECIPE, {"batch_size": batch_size}, budget())
        last = budget().steps_of(DEMO_RECIPE, recipe)
        due = [step for step in range(1, last + 1) if step % recipe.iters_per_evaluation == 0 or step == last]
        assert sorted({budget().evaluation_at(step, last) for step in due}) == [1, 2, 3, 4, 5]


def test_the_full_recipe_decays_after_the_same_number_of_utterances() -> None:
    recipe = full_recipe(DEMO_RECIPE, {"batch_size": 16, "guide_sigma": 0.2})
    assert (recipe.decay_start_step, recipe.decay_half_life_steps) == (280, 64)
    assert (recipe.guide_sigma, recipe.epochs) == (0.2, DEMO_RECIPE.epochs)
    assert full_recipe(DEMO_RECIPE, {}) == DEMO_RECIPE


def test_schedules_continue_from_a_checkpoint() -> None:
    from_checkpoint = plan_budget(SearchSettings(), DEMO_RECIPE, full_steps=1200, from_step=600)
    assert from_checkpoint == TrialBudget(steps=480, full_steps=1200, evaluations=5, first_pruned=5, from_step=600)
    recipe = trial_recipe(DEMO_RECIPE, {"learning_rate": 1e-3}, from_checkpoint)
    assert recipe.decay_start_step == DEMO_RECIPE.decay_start_step
    assert [from_checkpoint.evaluation_at(step, 1080) for step in (696, 792, 1080)] == [1, 2, 5]
