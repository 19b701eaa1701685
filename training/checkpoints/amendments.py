"""What had to change in a run's recipe for it to go on, in a file beside its checkpoints' settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hparams import HParams, build_hparams
from training.checkpoints.named_numbers import read_numbers, write_numbers

NAME = "amendments.json"
EXPECTED = '{"setting": value, …}'


def amend(folder: Path, hparams: HParams, changes: Mapping[str, float]) -> HParams:
    """The recipe with these changes, which the run keeps from now on."""
    write_numbers(folder / NAME, read_numbers(folder / NAME, EXPECTED, int | float) | dict(changes))
    return amended(folder, hparams)


def amended(folder: Path, hparams: HParams) -> HParams:
    """The recipe as this run has come to need it."""
    changes = read_numbers(folder / NAME, EXPECTED, int | float)
    return build_hparams(hparams.model_dump(), changes) if changes else hparams
