"""The weights a run began with, where they were given to it: a new start begins with them too."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from safetensors.torch import save as dump_tensors

from files import write_atomically
from hparams import UserError
from models import TrainableModel

NAME = "origin.safetensors"


def save_initial_weights(folder: Path, model: TrainableModel, *, fresh: Collection[str]) -> None:
    """All weights but those that were drawn at random."""
    given = {name: value for name, value in model.state_dict().items() if name not in fresh}
    portable = {name: value.detach().cpu().contiguous() for name, value in given.items()}
    write_atomically(folder / NAME, dump_tensors(portable))


def delete_initial_weights(folder: Path) -> None:
    """Of an earlier run that never came to a checkpoint here: this one begins with random weights."""
    (folder / NAME).unlink(missing_ok=True)


def load_initial_weights(folder: Path, model: TrainableModel) -> None:
    """What still fits of them; nothing in a run that began with random weights."""
    path = folder / NAME
    if not path.is_file():
        return
    try:
        given = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore or remove it") from error
    own = model.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(own | fitting)
