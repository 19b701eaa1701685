"""From the command line to the recipe: preset, config file, --hparams_file, --hparams, the options of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from commands.options import TrainOptions
from hparams import HParams, UserError, build_hparams, parse_overrides
from recipes import PRESET_NAMES, RECIPES
from smart_tuner.settings import Settings

OWN_OPTIONS = ("language", "model", "epochs", "batch_size", "learning_rate", "seed")


def recipe(options: TrainOptions, settings: Settings) -> HParams:
    changes = _changes(options, settings)
    named = [layer["model"] for layer in changes if "model" in layer]
    return build_hparams(preset_values(options, named[-1] if named else HParams().model), *changes)


def preset_values(options: TrainOptions, model: object) -> dict[str, Any]:
    """Values of the preset; none for an unknown model, which `build_hparams` refuses."""
    name, known = preset_name(options), RECIPES.get(str(model))
    if known is None:
        return {}
    if name not in known.presets:
        raise UserError(f"--preset {name}: {model} has no such preset; expected {', '.join(known.presets)}")
    return known.presets[name]


def _changes(options: TrainOptions, settings: Settings) -> tuple[dict[str, Any], ...]:
    """Of the preset, later ones win."""
    _, from_file = read_hparams_file(options.hparams_file)
    return settings.hparams, from_file, parse_overrides(options.hparams), given_options(options)


def preset_name(options: TrainOptions) -> str:
    """The one asked for, that of the file of settings, or what fits the corpus."""
    in_file, _ = read_hparams_file(options.hparams_file)
    return str(options.preset or in_file or ("demo" if options.data is None else "full"))


def read_hparams_file(path: Path | None) -> tuple[str | None, dict[str, Any]]:
    """Its preset, if it names one, and its values."""
    if path is None:
        return None, {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"--hparams_file {path}: cannot be read ({error.strerror}); give an existing YAML file"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--hparams_file {path}: is not valid YAML ({type(error).__name__})") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"--hparams_file {path}: expected 'name: value' lines, found {type(content).__name__}")
    preset = content.pop("preset", None)
    if preset is not None and preset not in PRESET_NAMES:
        raise UserError(f"--hparams_file {path}: preset {preset!r}: expected one of {', '.join(PRESET_NAMES)}")
    return preset, content


def given_options(options: TrainOptions) -> dict[str, Any]:
    """Those recipe options that were really given."""
    given = {name: value for name in OWN_OPTIONS if (value := getattr(options, name)) is not None}
    if options.batch_frames not in (None, "auto"):
        given["max_frames_per_batch"] = options.batch_frames
    return given


def choose_device(wanted: str) -> torch.device:
    """auto: the GPU where there is one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA GPU here; use --device auto, or a CUDA build of torch")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
