"""Weights that a run started from (a base voice, another run), stored so that a restart starts from them again."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from files import write_atomically
from hparams import UserError
from models import TrainableModel

FILE_NAME = "origin.safetensors"


def save_initial_weights(folder: Path, model: TrainableModel, *, fresh: Collection[str]) -> None:
    """Store all weights except the `fresh` ones, which were drawn at random."""
    loaded = {name: value for name, value in model.state_dict().items() if name not in fresh}
    write_atomically(
        folder / FILE_NAME,
        to_safetensors({name: value.detach().cpu().contiguous() for name, value in loaded.items()}),
    )


def delete_initial_weights(folder: Path) -> None:
    """Delete what an earlier run left that never reached a checkpoint: the new run starts from random weights."""
    (folder / FILE_NAME).unlink(missing_ok=True)


def load_initial_weights(folder: Path, model: TrainableModel) -> None:
    """Load the stored weights whose shapes fit the model; none are stored if the run started from random weights."""
    path = folder / FILE_NAME
    if not path.is_file():
        return
    try:
        stored = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore or remove it") from error
    current = model.state_dict()
    fitting = {name: value for name, value in stored.items() if name in current and current[name].shape == value.shape}
    model.load_state_dict(current | fitting)
