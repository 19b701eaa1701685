from __future__ import annotations

from typing import Any, get_args

import pytest

from hparams import AUDIO_FIELDS, HParams, ModelName, build_hparams
from recipes import PRESET_NAMES, RECIPES


def test_every_model_has_a_recipe_with_the_same_presets() -> None:
    assert RECIPES.keys() == set(get_args(ModelName))
    assert all(tuple(recipe.presets) == PRESET_NAMES for recipe in RECIPES.values())


@pytest.mark.parametrize("preset", [preset for recipe in RECIPES.values() for preset in recipe.presets.values()])
def test_every_preset_is_valid_and_later_layers_win(preset: dict[str, Any]) -> None:
    hparams = build_hparams(preset)
    assert all(getattr(hparams, name) == value for name, value in preset.items())
    assert build_hparams(preset, {"batch_size": 5}, {"batch_size": "7"}).batch_size == 7


@pytest.mark.parametrize("model", RECIPES)
def test_presets_name_their_model(model: str) -> None:
    assert {build_hparams(preset).model for preset in RECIPES[model].presets.values()} == {model}


def test_the_full_preset_of_tacotron2_equals_the_defaults() -> None:
    assert build_hparams(RECIPES["tacotron2"].presets["full"]) == HParams()


def test_architecture_and_audio_fields_are_fields_of_hparams() -> None:
    architecture = {name for recipe in RECIPES.values() for name in recipe.architecture_fields}
    assert architecture | {*AUDIO_FIELDS} <= {*HParams.model_fields}
