"""Recipes, one file for each model: its fields with their bounds, and its presets.

Presets: full, as published; small, for a small GPU; demo, for minutes on two cores; tiny, for tests.
"""

from __future__ import annotations

from recipes import glow_tts, tacotron2
from recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {"tacotron2": tacotron2.RECIPE, "glow_tts": glow_tts.RECIPE}
PRESET_NAMES = tuple(dict.fromkeys(name for recipe in RECIPES.values() for name in recipe.presets))
