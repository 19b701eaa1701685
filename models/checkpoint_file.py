"""Checkpoint files: reading them, the entries they hold, and files written by other implementations."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hparams import UserError

SCHEMA_VERSION = 2
CHECKPOINT_NAME = re.compile(r"step-(?P<step>\d{8})-(?P<checksum>[0-9a-f]{16})\.pt")
VOICE_ENTRIES = {"model": dict, "hparams": dict, "symbols": list, "progress": dict}
"""Entries that synthesis needs, and their types."""
RUN_ENTRIES = VOICE_ENTRIES | {
    **{"optimizer": dict, "precision": dict, "knobs": dict, "clock": dict, "random": dict, "watcher": dict},
    **{"left_out": list, "data_fingerprint": str, "steering": dict},
}
"""Entries that resuming a run needs, and their types."""

# Exceptions that torch.load raises on files that are no checkpoints, found by feeding it damaged ones.
UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, EOFError, RuntimeError, ValueError, LookupError, AttributeError),
    *(TypeError, AssertionError, OverflowError),
)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load the state from a checkpoint file, our own or a foreign one, or raise a `UserError` of one line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"checkpoint {path}: cannot be read ({error.strerror}); give an existing .pt file") from error
    name = CHECKPOINT_NAME.fullmatch(path.name)
    if name and hashlib.sha256(content).hexdigest()[:16] != name["checksum"]:
        raise UserError(f"checkpoint {path}: damaged, its checksum does not match its name; use an older one")
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles of a kind that torch itself does not write
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise UserError(
            f"checkpoint {path}: not a readable checkpoint of tensors and plain values, so it was not loaded "
            f"({type(error).__name__}); use another one"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path}: expected a dictionary with weights, found {type(state).__name__}")
    return state


def require_own_format(path: Path, state: dict[str, Any], entries: Mapping[str, type]) -> None:
    """Require one of our own checkpoints, of the current format and with all these entries."""
    missing = [name for name, kind in entries.items() if not isinstance(state.get(name), kind)]
    if missing:
        raise UserError(
            f"checkpoint {path}: incomplete or not from this program, it holds no {', '.join(missing)}; use another one"
        )
    if state.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"checkpoint {path}: written in format {state.get('schema_version')!r}, this version reads "
            f"{SCHEMA_VERSION}; use the version that wrote it"
        )


def is_foreign(state: dict[str, Any]) -> bool:
    """Recognise checkpoints of NVIDIA (`state_dict`, `iteration`, …) and of Coqui (`model`, `step`, `config`)."""
    return "schema_version" not in state and ("state_dict" in state or {"model", "step", "config"} <= state.keys())


def foreign_step(state: dict[str, Any]) -> int:
    """The training step stored in a foreign checkpoint; 0 if it stores none."""
    iteration = state.get("iteration", state.get("step"))
    return iteration if isinstance(iteration, int) and iteration >= 0 else 0


def optimizer_fits(model: nn.Module, state: dict[str, Any]) -> bool:
    """Check that a foreign checkpoint holds Adam's moments for exactly these parameters, in this order."""
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
