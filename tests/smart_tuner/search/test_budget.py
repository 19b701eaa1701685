from __future__ import annotations

import pytest

from hparams import HParams, build_hparams
from recipes import RECIPES
from smart_tuner.search.budget import Budget, plan_budget, trial_recipe, whole_recipe
from smart_tuner.search.settings import SearchSettings

DEMO_RECIPE = build_hparams(RECIPES["tacotron2"].presets["demo"])


def budget(recipe: HParams = DEMO_RECIPE, course_steps: int = 1200, **settings: int) -> Budget:
    return plan_budget(SearchSettings(**settings), recipe, course_steps=course_steps, from_step=None)


def test_a_trial_is_five_thirds_of_what_attention_may_take_to_form() -> None:
    assert budget() == Budget(steps=600, course_steps=1200, evaluations=5, first_pruned=3)


def test_it_is_no_longer_than_the_whole_training() -> None:
    assert budget(course_steps=500).steps == 500
    assert budget(course_steps=500).first_pruned == 4  # 360 steps are over at the fourth of five evaluations
    assert budget(course_steps=300).first_pruned == 5
    assert budget(course_steps=3) == Budget(steps=3, course_steps=3, evaluations=3, first_pruned=3)


def test_its_length_may_be_given() -> None:
    assert budget(trial_steps=100, evaluations=4) == Budget(100, 1200, evaluations=4, first_pruned=4)


def test_another_batch_size_sees_as_many_utterances() -> None:
    tried = build_hparams(RECIPES["tacotron2"].presets["demo"], {"batch_size": 16})
    assert budget().steps_of(DEMO_RECIPE, tried) == 300
    assert budget().steps_of(DEMO_RECIPE, DEMO_RECIPE) == 600


def test_the_learning_rate_falls_as_far_as_in_the_whole_training() -> None:
    recipe = trial_recipe(DEMO_RECIPE, {}, budget())
    assert recipe.decay_start_step / 600 == pytest.approx(DEMO_RECIPE.decay_start_step / 1200)
    assert recipe.decay_half_life_steps == round(DEMO_RECIPE.decay_half_life_steps * 0.5)


def test_what_attention_needs_takes_its_time() -> None:
    recipe = trial_recipe(DEMO_RECIPE, {}, budget())
    for name in ("warmup_steps", "guide_anneal_start_step", "guide_anneal_steps", "alignment_patience_steps"):
        assert getattr(recipe, name) == getattr(DEMO_RECIPE, name)


def test_evaluations_are_equally_far_apart_whatever_the_batch_size() -> None:
    for batch_size in (4, 8, 13, 16):
        recipe = trial_recipe(DEMO_RECIPE, {"batch_size": batch_size}, budget())
        last = budget().steps_of(DEMO_RECIPE, recipe)
        due = [step for step in range(1, last + 1) if step % recipe.iters_per_evaluation == 0 or step == last]
        assert sorted({budget().evaluation_at(step, last) for step in due}) == [1, 2, 3, 4, 5]


def test_the_whole_recipe_keeps_its_course_in_utterances() -> None:
    recipe = whole_recipe(DEMO_RECIPE, {"batch_size": 16, "guide_sigma": 0.2})
    assert (recipe.decay_start_step, recipe.decay_half_life_steps) == (280, 64)
    assert (recipe.guide_sigma, recipe.epochs) == (0.2, DEMO_RECIPE.epochs)
    assert whole_recipe(DEMO_RECIPE, {}) == DEMO_RECIPE


def test_from_a_checkpoint_the_schedules_go_on() -> None:
    fork = plan_budget(SearchSettings(), DEMO_RECIPE, course_steps=1200, from_step=600)
    assert fork == Budget(steps=480, course_steps=1200, evaluations=5, first_pruned=5, from_step=600)
    recipe = trial_recipe(DEMO_RECIPE, {"learning_rate": 1e-3}, fork)
    assert recipe.decay_start_step == DEMO_RECIPE.decay_start_step
    assert [fork.evaluation_at(step, 1080) for step in (696, 792, 1080)] == [1, 2, 5]
