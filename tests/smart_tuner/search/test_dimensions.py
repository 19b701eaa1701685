from __future__ import annotations

from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from hparams import HParams, UserError, build_hparams
from recipes import RECIPES
from smart_tuner.search.dimensions import Dimension, build_space
from smart_tuner.search.settings import SearchSettings
from smart_tuner.search.space import MID_RUN_FIELDS, SEARCHABLE_FIELDS, SearchRange

RECIPE = HParams()


def dimension(name: str, recipe: HParams = RECIPE, **arguments: Any) -> Dimension:
    return build_space({name: SearchRange(**arguments)}, recipe, mid_run=False)[0]


def test_factors_apply_to_the_recipes_own_value() -> None:
    assert dimension("learning_rate", times=(0.5, 4)) == Dimension("learning_rate", "float", 5e-5, 4e-4, log=True)
    assert dimension("batch_size", times=(0.5, 2)) == Dimension("batch_size", "int", 16, 64, log=True)
    assert dimension("n_frames_per_step", times=(0.1, 3)) == Dimension("n_frames_per_step", "int", 1, 3, log=True)


def test_every_dimension_contains_the_recipes_own_value() -> None:
    assert dimension("guide_sigma", low=0.5, high=0.9).low == RECIPE.guide_sigma
    assert dimension("guide_sigma", low=0.1, high=0.2).high == RECIPE.guide_sigma
    assert dimension("batch_size", choices=(8, 16)).choices == (8, 16, 32)
    assert dimension("learning_rate", times=(2, 4)).low == RECIPE.learning_rate
    assert dimension("weight_decay", recipe=HParams(weight_decay=0), low=1e-8, high=1e-3, log=True).low == 0


def test_a_setting_that_is_switched_off_is_not_searched() -> None:
    ranges = {"guide_loss_weight": SearchRange(times=(0.5, 2)), "guide_sigma": SearchRange(low=0.1, high=0.5)}
    space = build_space(ranges, HParams(guide_loss_weight=0), mid_run=False)
    assert [d.name for d in space] == ["guide_sigma"]


def test_in_mid_run_only_settings_that_may_change_are_searched() -> None:
    settings = SearchSettings()
    mid_run = {d.name for d in build_space(settings.space, RECIPE, mid_run=True)}
    own = {name for name, r in settings.space.items() if r.models is None or "tacotron2" in r.models}
    assert mid_run == own & set(MID_RUN_FIELDS)
    assert not mid_run & {*RECIPES["tacotron2"].architecture_fields, "batch_size", "warmup_steps"}
    with pytest.raises(UserError, match="names no setting that may change in mid-run of tacotron2"):
        build_space({"batch_size": SearchRange(times=(0.5, 2))}, RECIPE, mid_run=True)


def test_a_range_may_apply_to_some_models_only() -> None:
    ranges = {"prenet_dim": SearchRange(times=(0.5, 2), models=()), "guide_sigma": SearchRange(low=0.1, high=0.5)}
    assert [d.name for d in build_space(ranges, RECIPE, mid_run=False)] == ["guide_sigma"]


@pytest.mark.parametrize("preset", [preset for recipe in RECIPES.values() for preset in recipe.presets.values()])
def test_the_default_space_and_its_values_are_valid_for_every_preset(preset: dict[str, Any]) -> None:
    recipe, ranges = build_hparams(preset), SearchSettings().space
    space = build_space(ranges, recipe, mid_run=False)
    switched_off = {name for name, r in ranges.items() if r.times and not getattr(recipe, name)}
    of_other_models = {name for name, r in ranges.items() if r.models and recipe.model not in r.models}
    assert {d.name for d in space} == ranges.keys() - of_other_models - switched_off
    assert all(d.contains(getattr(recipe, d.name)) for d in space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        params = {d.name: d.suggest(trial) for d in space}
        assert all(d.contains(params[d.name]) for d in space)
        build_hparams(recipe.model_dump(), params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected low and high, or times, or choices"),
        ({"low": 1, "high": 2, "times": (1, 2)}, "expected low and high, or times, or choices"),
        ({"low": 1}, "expected low < high"),
        ({"low": 2, "high": 1}, "expected low < high"),
        ({"low": 0, "high": 1, "log": True}, "expected low > 0"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "no step"),
        ({"times": (2, 1)}, "the smaller first"),
        ({"times": (0, 1)}, "above 0"),
        ({"times": (1, 2), "log": True}, "log and step go with low and high"),
        ({"choices": ()}, "expected different values"),
        ({"choices": (1, 1)}, "expected different values"),
        ({"low": 0, "high": 1, "steps": 3}, "Extra inputs"),
        ({"low": 0, "high": 1, "models": ("tacotron_2",)}, "Input should be 'tacotron2'"),
    ],
)
def test_a_contradictory_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SearchRange(**arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("encoder_kernel_size", {"low": 3, "high": 7}, "search.space.encoder_kernel_size: .*must be odd"),
        ("p_prenet_dropout", {"low": 0, "high": 2}, "search.space.p_prenet_dropout: .*less than 1"),
        ("batch_size", {"choices": (8, "many")}, "search.space.batch_size: "),
        ("batch_size", {"low": 0, "high": 9}, "search.space.batch_size: .*greater than or equal to 1"),
        ("batch_size", {"low": 8, "high": 64, "step": 2.5}, "search.space.batch_size: step: expected a whole number"),
        ("batch_size", {"low": 10, "high": 64, "step": 5}, "the recipe's 32 is not among 10, 15, …"),
    ],
)
def test_invalid_values_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dimension(name, **arguments)


def test_a_kernel_size_may_be_searched_in_steps() -> None:
    assert dimension("encoder_kernel_size", low=3, high=9, step=2).contains(7)
    assert not dimension("encoder_kernel_size", low=3, high=9, step=2).contains(6)


@pytest.mark.parametrize("name", ["seed", "epochs", "mel_floor", "nonsense", "model"])
def test_settings_that_change_the_measure_cannot_be_searched(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name!r} cannot be searched; the nearest that can is '"):
        SearchSettings(space={name: SearchRange(low=1, high=2)})


def test_all_searchable_names_are_settings() -> None:
    assert set(SEARCHABLE_FIELDS) <= set(HParams.model_fields)
