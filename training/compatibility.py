"""Whether a checkpoint fits what is to be trained, and how foreign ones are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hparams import ARCHITECTURE_FIELDS, AUDIO_FIELDS, HParams, UserError


def is_foreign(state: dict[str, Any]) -> bool:
    """An NVIDIA checkpoint: `state_dict`, `iteration`, `learning_rate`."""
    return "state_dict" in state and "schema_version" not in state


def require_own(path: Path, state: dict[str, Any]) -> None:
    """Refuse what is neither foreign nor one of our checkpoints."""
    missing = [name for name in ("model", "hparams", "symbols", "progress") if name not in state]
    if missing:
        raise UserError(
            f"checkpoint {path}: not one of this program, it holds no {', '.join(missing)}; use another one"
        )


@dataclass(frozen=True)
class Origin:
    """What a checkpoint or voice says it was made with."""

    path: Path
    hparams: dict[str, Any]
    symbols: tuple[str, ...]


def require_same_voice(origin: Origin, hparams: HParams, symbols: tuple[str, ...]) -> None:
    """Architecture, audio and symbols must match."""
    saved, wanted = origin.hparams, hparams.model_dump(mode="json")
    differing = [name for name in ARCHITECTURE_FIELDS + AUDIO_FIELDS if saved.get(name) != wanted[name]]
    if differing:
        listed = ", ".join(f"{name} is {saved.get(name)!r} there, {wanted[name]!r} here" for name in differing)
        raise UserError(
            f"checkpoint {origin.path} does not fit: {listed}; use its settings, --warm_start or --resume none"
        )
    if origin.symbols != symbols:
        raise UserError(
            f"{origin.path} does not fit: it was trained on {len(origin.symbols)} symbols "
            f"({saved['language']}, {saved['text_frontend']}), this run has {len(symbols)} ({hparams.language}, "
            f"{hparams.text_frontend}); use its --language and text_frontend, or --warm_start"
        )


def other_differences(state: dict[str, Any], hparams: HParams) -> dict[str, list[Any]]:
    """Settings that may change over a resume: name → [before, now]."""
    saved, wanted = state["hparams"], hparams.model_dump(mode="json")
    return {name: [saved.get(name), value] for name, value in wanted.items() if saved.get(name) != value}


def weights_of(path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    weights = state.get("state_dict", state.get("model"))
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"checkpoint {path}: no weights found under 'model' or 'state_dict'")
    return {name.removeprefix("module."): value for name, value in weights.items()}


def load_all_weights(model: nn.Module, path: Path, state: dict[str, Any]) -> None:
    """Every weight, by name and shape; otherwise nothing is loaded and the first differences are named."""
    weights, own = weights_of(path, state), model.state_dict()
    problems = [f"{name} is missing there" for name in own if name not in weights]
    problems += [f"{name} is not known here" for name in weights if name not in own]
    problems += [
        f"{name} is {list(weights[name].shape)} there, {list(value.shape)} here"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        more = f" … {len(problems)} differences in all" if len(problems) > 3 else ""
        raise UserError(f"checkpoint {path} is of another model: {'; '.join(problems[:3])}{more}")
    model.load_state_dict(weights)


def optimizer_fits(model: nn.Module, state: dict[str, Any]) -> bool:
    """Whether a foreign checkpoint holds Adam's moments for just these weights, in this order."""
    saved = state.get("optimizer")
    if not isinstance(saved, dict) or len(saved.get("param_groups", ())) != 1:
        return False
    moments = [saved["state"].get(number, {}).get("exp_avg") for number in saved["param_groups"][0]["params"]]
    shapes = [moment.shape for moment in moments if isinstance(moment, Tensor)]
    return shapes == [parameter.shape for parameter in model.parameters()]


def warm_start(model: nn.Module, path: Path, state: dict[str, Any], ignore_layers: tuple[str, ...]) -> list[str]:
    """Take over every weight that fits in name and shape and is not ignored; returns the names that stay fresh."""
    weights, own = weights_of(path, state), model.state_dict()
    taken = {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape and name not in ignore_layers
    }
    if not taken:
        raise UserError(f"--warm_start {path}: none of its {len(weights)} weights fits this model")
    model.load_state_dict(taken, strict=False)
    return [name for name in own if name not in taken]
