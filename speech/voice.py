"""voice.safetensors: one portable file that speaks; weights, recipe, symbols."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from files import write_atomically
from hparams import HParams, UserError, build_hparams
from models import TrainableModel, build_model
from models.checkpoint_file import VOICE_ENTRIES, load_checkpoint, require_own_format
from models.weights import SavedSettings, load_all_weights, require_compatible, require_finite_weights


@dataclass(frozen=True)
class Voice:
    """A trained model ready to speak; `step` is where it was taken from its run."""

    model: TrainableModel
    hparams: HParams
    origin: SavedSettings
    step: int


def save_voice(
    path: Path, weights: dict[str, Tensor], hparams: HParams, *, symbols: tuple[str, ...], step: int
) -> None:
    """Language and every other setting travel in the hparams."""
    metadata = {
        "format": "pt",
        "hparams": json.dumps(hparams.model_dump(mode="json")),
        "symbols": json.dumps(symbols, ensure_ascii=False),
        "step": str(step),
    }
    portable = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_atomically(path, dump_tensors(portable, metadata))


def load_voice(path: Path, *overrides: dict[str, Any]) -> Voice:
    """From voice.safetensors or one of our checkpoints; overrides may change what is not architecture or audio."""
    if path.suffix != ".safetensors":
        return _from_checkpoint(path, overrides)
    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        weights, metadata = load_tensors(content), header["__metadata__"]
        symbols, step = tuple(json.loads(metadata["symbols"])), int(metadata["step"])
        origin = SavedSettings(path, dict(json.loads(metadata["hparams"])), symbols)
    except OSError as error:
        raise UserError(f"voice {path}: cannot be read ({error.strerror})") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"voice {path}: damaged, or not a voice of this program; use another one") from error
    return _build(origin, {"model": weights}, overrides, step=step)


def _from_checkpoint(path: Path, overrides: tuple[dict[str, Any], ...]) -> Voice:
    state = load_checkpoint(path)
    require_own_format(path, state, VOICE_ENTRIES)
    knobs = state.get("knobs", {})  # the gate's threshold may have been calibrated while training
    calibrated = {name: knobs[name] for name in ("gate_threshold",) if name in knobs}
    origin = SavedSettings(path, state["hparams"] | calibrated, tuple(state["symbols"]))
    return _build(origin, state, overrides, step=int(state["progress"]["step"]))


def _build(origin: SavedSettings, state: dict[str, Any], overrides: tuple[dict[str, Any], ...], *, step: int) -> Voice:
    hparams = build_hparams(origin.hparams, *overrides)
    require_compatible(origin, hparams, origin.symbols)
    require_finite_weights(origin.path, state)
    if hparams.num_speakers and not hparams.speakers:
        raise UserError(
            f"voice {origin.path}: does not say who its {hparams.num_speakers} speakers are; use another one"
        )
    model = build_model(hparams, len(origin.symbols))
    load_all_weights(model, origin.path, state)
    model.fold()
    return Voice(model.eval(), hparams, origin, step)
