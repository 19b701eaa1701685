"""Voice file (voice.safetensors): weights, settings and symbols of a trained model in one portable file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from corpus.text.statistics import TextStatistics, read_statistics
from files import write_atomically
from hparams import HParams, UserError, build_hparams
from models import TrainableModel, build_model
from models.checkpoint_file import VOICE_ENTRIES, load_checkpoint, require_own_format
from models.weights import SavedSettings, load_all_weights, require_compatible, require_finite_weights


@dataclass(frozen=True)
class Voice:
    """A trained model ready for synthesis."""

    model: TrainableModel
    hparams: HParams
    saved: SavedSettings  # as in the file, without overrides
    step: int  # of the training run
    text_statistics: TextStatistics | None = None  # None in a voice of an earlier version


def save_voice(
    path: Path,
    weights: dict[str, Tensor],
    hparams: HParams,
    *,
    symbols: tuple[str, ...],
    step: int,
    text_statistics: TextStatistics | None = None,
) -> None:
    metadata = {
        "format": "pt",
        "hparams": json.dumps(hparams.model_dump(mode="json")),
        "symbols": json.dumps(symbols, ensure_ascii=False),
        "step": str(step),
        "text_statistics": json.dumps(None if text_statistics is None else asdict(text_statistics)),
    }
    portable = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_atomically(path, dump_tensors(portable, metadata))


def load_voice(path: Path, *overrides: dict[str, Any]) -> Voice:
    """Load a voice file or a checkpoint of this program.

    Overrides may change any setting but those of architecture and audio.
    """
    if path.suffix != ".safetensors":
        return _load_checkpoint(path, overrides)
    stored = read_voice_file(path)
    return _build(stored, {"model": stored.weights}, overrides)


@dataclass(frozen=True)
class StoredVoice:
    """Content of a voice file."""

    weights: dict[str, Tensor]
    saved: SavedSettings
    step: int
    text_statistics: TextStatistics | None


def read_voice_file(path: Path) -> StoredVoice:
    """Read a voice.safetensors, or raise a `UserError` of one line."""
    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        weights, metadata = load_tensors(content), header["__metadata__"]
        symbols, step = tuple(json.loads(metadata["symbols"])), int(metadata["step"])
        saved = SavedSettings(path, dict(json.loads(metadata["hparams"])), symbols)
        statistics = read_statistics(json.loads(metadata.get("text_statistics", "null")))
    except OSError as error:
        raise UserError(f"voice {path}: cannot be read ({error.strerror})") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"voice {path}: damaged, or not a voice of this program; use another one") from error
    return StoredVoice(weights, saved, step, statistics)


def _load_checkpoint(path: Path, overrides: tuple[dict[str, Any], ...]) -> Voice:
    state = load_checkpoint(path)
    require_own_format(path, state, VOICE_ENTRIES)
    knobs = state.get("knobs", {})  # training may have calibrated the gate threshold
    calibrated = {name: knobs[name] for name in ("gate_threshold",) if name in knobs}
    saved = SavedSettings(path, state["hparams"] | calibrated, tuple(state["symbols"]))
    stored = StoredVoice({}, saved, int(state["progress"]["step"]), read_statistics(state.get("text_statistics")))
    return _build(stored, state, overrides)


def _build(stored: StoredVoice, state: dict[str, Any], overrides: tuple[dict[str, Any], ...]) -> Voice:
    saved = stored.saved
    hparams = build_hparams(saved.hparams, *overrides)
    require_compatible(saved, hparams, saved.symbols)
    require_finite_weights(saved.path, state)
    if hparams.num_speakers and not hparams.speakers:
        raise UserError(f"voice {saved.path}: lacks the names of its {hparams.num_speakers} speakers; use another one")
    model = build_model(hparams, len(saved.symbols))
    load_all_weights(model, saved.path, state)
    model.fold()
    return Voice(model.eval(), hparams, saved, stored.step, stored.text_statistics)
