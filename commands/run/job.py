"""A training job, and the recipe that options and files give: all that is decided before anything is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from commands.console import open_console
from commands.options import TrainOptions
from commands.process.ranks import rank_device
from corpus.text.lexicon import read_lexicon
from hparams import HParams, UserError, build_hparams, parse_overrides
from models.kernels.choice import choose_kernels
from recipes import PRESET_NAMES, RECIPES
from smart_tuner.settings import Settings, load_settings
from training.distributed.rank_group import RankGroup
from training.knobs import knobs_with_effect
from training.run_state import RunLimits
from training.step.allocator import keep_freed_memory
from training.step.precision import require_precision
from training.trainer import EnhancedTrainer

RECIPE_OPTIONS = ("language", "model", "epochs", "batch_size", "learning_rate", "seed")


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Options, settings and limits of one training."""

    options: TrainOptions
    settings: Settings
    hparams: HParams
    device: torch.device
    console: Console  # for the result
    progress_console: Console  # for everything else; silent with --quiet
    limits: RunLimits
    on_trainer_ready: Callable[[EnhancedTrainer], None] = lambda trainer: None  # called before the first step
    disabled_actions: frozenset[str] = frozenset()  # actions that the supervisor must not order
    preset: str = ""  # whose schedules the plan scales; empty: the recipe's schedules are final
    preset_reason: str = ""  # where the program has chosen it
    preset_seconds: Mapping[str, float] = field(default_factory=dict)  # of a step, measured for the choice
    has_short_plan: bool = False  # far shorter than the schedules of its preset
    given: frozenset[str] = frozenset()  # settings that a person has given, which the plan does not change
    is_estimated: bool = True  # whether free cores, time and memory are measured before the first step
    rank_group: RankGroup = field(default_factory=RankGroup.single)


def plan_job(options: TrainOptions) -> TrainingJob:
    """Check everything the person asked for before anything is written."""
    settings = load_settings(options.config, mlflow_uri=options.mlflow_uri)
    hparams = build_recipe(options, settings)
    known = knobs_with_effect(hparams)
    if unknown := [name for name in options.pinned_knobs if name not in known]:
        raise UserError(f"--pin: {hparams.model} has no knob {unknown[0]!r}; its knobs are {', '.join(known)}")
    deadline = None if options.max_minutes is None else time.monotonic() + 60 * options.max_minutes
    return TrainingJob(
        options=options,
        settings=settings,
        hparams=hparams,
        device=set_up_torch(options, hparams),
        console=open_console(),
        progress_console=open_console(quiet=options.quiet),
        limits=RunLimits(max_steps=options.max_steps, deadline=deadline),
        preset=preset_name(options),
        given=frozenset(name for layer in given_layers(options, settings) for name in layer),
    )


def set_up_torch(options: TrainOptions, hparams: HParams) -> torch.device:
    device = rank_device(choose_device(options.device))
    require_precision(hparams.precision, device)
    set_up_processor(hparams)
    return device


def set_up_processor(hparams: HParams) -> None:
    """Set the number of threads: two programs with more threads than cores slow each other down 25 times."""
    torch.set_num_threads(hparams.cpu_threads or torch.get_num_threads())
    keep_freed_memory()
    choose_kernels(hparams.kernels)
    torch.set_flush_denormal(True)  # denormal numbers cost a tenth of a CPU's step


def build_recipe(options: TrainOptions, settings: Settings) -> HParams:
    """Combine the preset with the values of config file, --hparams_file, --hparams and options; later ones win."""
    layers = given_layers(options, settings)
    models = [layer["model"] for layer in layers if "model" in layer]
    model = str(models[-1] if models else HParams().model)
    return build_hparams(preset_values(options, model), recording_values(options, model), *layers)


def given_layers(options: TrainOptions, settings: Settings) -> tuple[dict[str, Any], ...]:
    """Return the settings that a person has given, in the order of their precedence."""
    _, file_values = read_hparams_file(options.hparams_file)
    lexicon = {} if options.lexicon is None else {"lexicon": read_lexicon(options.lexicon)}
    return settings.hparams, file_values, parse_overrides(options.hparams), option_values(options), lexicon


def preset_values(options: TrainOptions, model: object) -> dict[str, Any]:
    """Return the values of the preset; none for an unknown model, which `build_hparams` refuses."""
    if str(model) not in RECIPES:
        return {}
    name, presets = preset_name(options), RECIPES[str(model)].presets
    if name not in presets:
        raise UserError(f"--preset {name}: {model} has no such preset; expected one of {', '.join(presets)}")
    return presets[name]


def recording_values(options: TrainOptions, model: str) -> dict[str, Any]:
    """Return the model's settings for recordings; none for the demo corpus."""
    return {} if options.data is None or model not in RECIPES else RECIPES[model].recordings[preset_name(options)]


def preset_name(options: TrainOptions) -> str:
    """Return the preset that is asked for, else the one that fits the corpus."""
    return asked_preset(options) or ("demo" if options.data is None else "full")


def asked_preset(options: TrainOptions) -> str | None:
    """Return the preset of --preset or --hparams_file."""
    return options.preset or read_hparams_file(options.hparams_file)[0]


def read_hparams_file(path: Path | None) -> tuple[str | None, dict[str, Any]]:
    """Read the preset, if the file names one, and the values."""
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


def option_values(options: TrainOptions) -> dict[str, Any]:
    """Return the values given by options such as --batch_size."""
    values = {name: value for name in RECIPE_OPTIONS if (value := getattr(options, name)) is not None}
    if options.batch_frames not in (None, "auto"):
        values["max_frames_per_batch"] = options.batch_frames
    return values


def choose_device(name: str) -> torch.device:
    """Return the device of --device; for auto the GPU, if there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA GPU here; use --device auto, or a CUDA build of torch")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
