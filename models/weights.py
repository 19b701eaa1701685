"""Loading weights and settings from a checkpoint's state into a model, or explaining why they do not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hparams import AUDIO_FIELDS, HParams, UserError
from recipes import RECIPES

NAMED_PROBLEMS = 3
"""Longest list of names in an error message."""


@dataclass(frozen=True)
class SavedSettings:
    """Settings and symbols with which the model in a checkpoint or voice file was trained."""

    path: Path
    hparams: dict[str, Any]
    symbols: tuple[str, ...]


def require_compatible(saved: SavedSettings, hparams: HParams, symbols: tuple[str, ...]) -> None:
    """Require the same architecture, audio settings and symbols; other settings may differ."""
    before, now = with_default_settings(saved.hparams), hparams.model_dump(mode="json")
    fields = ("model", *RECIPES[hparams.model].architecture_fields, *AUDIO_FIELDS)
    differing = [name for name in fields if before[name] != now[name]]
    if differing:
        shown = differing[:NAMED_PROBLEMS]
        listed = ", ".join(f"{name} is {before[name]!r} in the checkpoint, {now[name]!r} here" for name in shown)
        more = f" and {len(differing) - len(shown)} more" if len(differing) > len(shown) else ""
        raise UserError(
            f"checkpoint {saved.path} does not fit: {listed}{more}; use the settings of its run, or start "
            "another one with --run_name NAME, --resume none or --warm_start"
        )
    if saved.symbols != symbols:
        raise UserError(
            f"{saved.path} does not fit: it was trained on {len(saved.symbols)} symbols "
            f"({before['language']}, {before['text_frontend']}), this run has {len(symbols)} ({hparams.language}, "
            f"{hparams.text_frontend}); use its --language and text_frontend, or --warm_start"
        )


def changed_settings(state: dict[str, Any], hparams: HParams) -> dict[str, list[Any]]:
    """Settings that differ from the checkpoint's: name → [before, now]."""
    before, now = with_default_settings(state["hparams"]), hparams.model_dump(mode="json")
    return {name: [before[name], value] for name, value in now.items() if before[name] != value}


def with_default_settings(saved: dict[str, Any]) -> dict[str, Any]:
    """Add the defaults of settings that did not exist yet when the checkpoint was written."""
    return HParams().model_dump(mode="json") | {"speech_level": "as_recorded"} | saved


def extract_weights(path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    """The model's weights by name, without the prefix that DataParallel adds."""
    weights = state.get("state_dict", state.get("model"))
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"checkpoint {path}: no weights found under 'model' or 'state_dict'")
    return {name.removeprefix("module."): value for name, value in weights.items()}


def require_finite_weights(path: Path, state: dict[str, Any]) -> None:
    """Refuse weights with NaN or infinity: synthesis would be silent, and further training cannot repair them."""
    broken = [name for name, weight in extract_weights(path, state).items() if not bool(torch.isfinite(weight).all())]
    if broken:
        n_more = len(broken) - NAMED_PROBLEMS
        named = ", ".join(broken[:NAMED_PROBLEMS]) + (f" and {n_more} more" if n_more > 0 else "")
        raise UserError(f"checkpoint {path}: weights with NaN or infinity ({named}); use an earlier checkpoint")


def load_all_weights(model: nn.Module, path: Path, state: dict[str, Any]) -> None:
    """Load every weight; if any name or shape differs, load nothing and name the first differences."""
    weights, own = extract_weights(path, state), model.state_dict()
    problems = [f"{name} is missing in the checkpoint" for name in own if name not in weights]
    problems += [f"{name} does not exist in this model" for name in weights if name not in own]
    problems += [
        f"{name} is {list(weights[name].shape)} in the checkpoint, {list(value.shape)} here"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        more = f" … {len(problems)} differences in all" if len(problems) > NAMED_PROBLEMS else ""
        raise UserError(f"checkpoint {path} is of another model: {'; '.join(problems[:NAMED_PROBLEMS])}{more}")
    model.load_state_dict(weights)


def warm_start(model: nn.Module, path: Path, state: dict[str, Any], ignore_layers: tuple[str, ...]) -> list[str]:
    """Load the weights that fit in name and shape; return the names of those not loaded.

    `ignore_layers`: beginnings of names that are not loaded.
    """
    weights, own = extract_weights(path, state), model.state_dict()
    fitting = {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape and not name.startswith(ignore_layers)
    }
    if not fitting:
        raise UserError(f"--warm_start {path}: none of its {len(weights)} weights fits this model")
    model.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]
