"""Whether a checkpoint fits what is to be trained, and how foreign ones are read."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hparams import ARCHITECTURE_FIELDS, AUDIO_FIELDS, HParams, UserError

SCHEMA_VERSION = 2
CHECKPOINT_NAME = re.compile(r"step-(?P<step>\d{8})-(?P<checksum>[0-9a-f]{16})\.pt")

# What torch raises on files that are no checkpoints, found by feeding it damaged ones.
UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, RuntimeError, ValueError, LookupError, AttributeError),
    *(TypeError, AssertionError, OverflowError),
)


def is_foreign(state: dict[str, Any]) -> bool:
    """One of NVIDIA's (`state_dict`, `iteration`, `learning_rate`) or of Coqui's (`model`, `step`, `config`)."""
    return "schema_version" not in state and ("state_dict" in state or {"model", "step", "config"} <= state.keys())


VOICE_PARTS = {"model": dict, "hparams": dict, "symbols": list, "progress": dict}
RUN_PARTS = VOICE_PARTS | {
    **{"optimizer": dict, "precision": dict, "knobs": dict, "clock": dict, "random": dict, "watcher": dict},
    **{"left_out": list, "data_fingerprint": str, "steering": dict},
}


def require_own(path: Path, state: dict[str, Any], parts: Mapping[str, type]) -> None:
    """Refuse what is neither foreign nor one of our checkpoints with all that is needed of it."""
    missing = [name for name, kind in parts.items() if not isinstance(state.get(name), kind)]
    if missing:
        raise UserError(
            f"checkpoint {path}: not a whole one of this program, it holds no {', '.join(missing)}; use another one"
        )
    if state.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"checkpoint {path}: written in format {state.get('schema_version')!r}, this version reads "
            f"{SCHEMA_VERSION}; use the version that wrote it"
        )


def foreign_step(state: dict[str, Any]) -> int:
    """How far a foreign checkpoint says it is; 0 if it says nothing that could be a step."""
    iteration = state.get("iteration", state.get("step"))
    return iteration if isinstance(iteration, int) and iteration >= 0 else 0


@dataclass(frozen=True)
class Origin:
    """What a checkpoint or voice says it was made with."""

    path: Path
    hparams: dict[str, Any]
    symbols: tuple[str, ...]


def require_same_voice(origin: Origin, hparams: HParams, symbols: tuple[str, ...]) -> None:
    """Architecture, audio and symbols must match."""
    saved, wanted = with_defaults(origin.hparams), hparams.model_dump(mode="json")
    fields = ("model", *ARCHITECTURE_FIELDS[hparams.model], *AUDIO_FIELDS)
    differing = [name for name in fields if saved[name] != wanted[name]]
    if differing:
        listed = ", ".join(f"{name} is {saved[name]!r} there, {wanted[name]!r} here" for name in differing)
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
    saved, wanted = with_defaults(state["hparams"]), hparams.model_dump(mode="json")
    return {name: [saved[name], value] for name, value in wanted.items() if saved[name] != value}


def with_defaults(saved: dict[str, Any]) -> dict[str, Any]:
    """What was not a setting yet when a checkpoint was written was as it is by default."""
    return HParams().model_dump(mode="json") | saved


def weights_of(path: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    weights = state.get("state_dict", state.get("model"))
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"checkpoint {path}: no weights found under 'model' or 'state_dict'")
    return {name.removeprefix("module."): value for name, value in weights.items()}


def require_numbers(path: Path, state: dict[str, Any]) -> None:
    """A voice of weights that are no numbers is silent for ever; training on from them leads nowhere."""
    lost = [name for name, weight in weights_of(path, state).items() if not bool(torch.isfinite(weight).all())]
    if lost:
        named = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        raise UserError(f"checkpoint {path}: not all weights are numbers ({named}); use one from before that")


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
    groups, memory = (saved.get("param_groups"), saved.get("state")) if isinstance(saved, dict) else (None, None)
    if not isinstance(memory, dict) or not isinstance(groups, list) or len(groups) != 1:
        return False
    numbers = groups[0].get("params") if isinstance(groups[0], dict) else None
    moments = [memory.get(number) for number in numbers] if isinstance(numbers, list) else []
    parameters = list(model.parameters())
    return len(moments) == len(parameters) and all(map(_are_moments, moments, parameters))


def _are_moments(moments: object, parameter: nn.Parameter) -> bool:
    if not isinstance(moments, dict) or "step" not in moments:
        return False
    both = [moments.get(name) for name in ("exp_avg", "exp_avg_sq")]
    return all(isinstance(moment, Tensor) and moment.shape == parameter.shape for moment in both)


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


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint file, ours or a foreign one; whatever is wrong with it becomes one clear line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"checkpoint {path}: cannot be read ({error.strerror}); give an existing .pt file") from error
    name = CHECKPOINT_NAME.fullmatch(path.name)
    if name and hashlib.sha256(content).hexdigest()[:16] != name["checksum"]:
        raise UserError(f"checkpoint {path}: damaged, its checksum does not match its name; use an older one")
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles that torch would not write
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise UserError(
            f"checkpoint {path}: not a readable checkpoint of tensors and plain values, so it was not loaded "
            f"({type(error).__name__}); use another one"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path}: expected a dictionary with weights, found {type(state).__name__}")
    return state
