"""Utterances kept out of training, in a file of the run that survives restarts and that a person may edit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.checkpoints.named_numbers import read_numbers, write_numbers

NAME = "quarantine.json"


def read_quarantine(folder: Path) -> dict[str, int]:
    """Utterance id → the step at which it was found out."""
    return read_numbers(folder / NAME, '{"utterance id": step, …}')


def add_to_quarantine(folder: Path, utterances: Sequence[str], *, step: int) -> None:
    write_numbers(folder / NAME, dict.fromkeys(utterances, step) | read_quarantine(folder))
