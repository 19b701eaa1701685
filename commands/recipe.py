"""From the command line to the recipe: preset, then config file, then --hparams, then the options of their own."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from hparams import PRESETS, HParams, UserError, build_hparams, parse_overrides
from smart_tuner.settings import Settings

OWN_OPTIONS = ("language", "model", "epochs", "batch_size", "learning_rate", "seed")


def recipe(options: argparse.Namespace, settings: Settings) -> HParams:
    changes = (settings.hparams, parse_overrides(options.hparams), given_options(options))
    return build_hparams(preset_values(options), *changes)


def preset_values(options: argparse.Namespace) -> dict[str, Any]:
    return PRESETS[options.preset or ("demo" if options.data is None else "full")]


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Those recipe options that were really given."""
    return {name: value for name in OWN_OPTIONS if (value := getattr(options, name)) is not None}


def choose_device(wanted: str) -> torch.device:
    """auto: the GPU where there is one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA GPU here; use --device auto, or a CUDA build of torch")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
