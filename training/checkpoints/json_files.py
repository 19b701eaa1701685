"""JSON files of a run that a person may edit: measured settings, amended settings, quarantined utterances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

from files import atomic_replacement
from hparams import HParams, UserError, build_hparams

CHOICES_FILE = "choices.json"  # settings that were measured when the run began
AMENDMENTS_FILE = "amendments.json"  # settings that had to change for the run to continue
QUARANTINE_FILE = "quarantine.json"


def read_choices(folder: Path) -> dict[str, Any]:
    path, expected = folder / CHOICES_FILE, "settings of hparams.py"
    choices = _read(path, expected, int | str)
    try:
        build_hparams(choices)
    except UserError as error:
        raise UserError(f"{path}: expected {expected} ({error}); correct or remove it") from error
    return choices


def write_choices(folder: Path, choices: Mapping[str, Any]) -> None:
    _write(folder / CHOICES_FILE, choices)


def add_amendments(folder: Path, hparams: HParams, changes: Mapping[str, float]) -> HParams:
    """Add changed settings to the run's file and return the recipe with all amendments."""
    _write(folder / AMENDMENTS_FILE, _read_amendments(folder) | dict(changes))
    return apply_amendments(folder, hparams)


def apply_amendments(folder: Path, hparams: HParams) -> HParams:
    """The recipe with the amendments of this run."""
    changes = _read_amendments(folder)
    return build_hparams(hparams.model_dump(), changes) if changes else hparams


def _read_amendments(folder: Path) -> dict[str, Any]:
    return _read(folder / AMENDMENTS_FILE, '{"setting": value, …}', int | float)


def read_quarantine(folder: Path) -> dict[str, int]:
    """Utterances excluded from training: id → the step at which each was excluded."""
    return _read(folder / QUARANTINE_FILE, '{"utterance id": step, …}', int)


def add_to_quarantine(folder: Path, utterances: Sequence[str], *, step: int) -> None:
    _write(folder / QUARANTINE_FILE, dict.fromkeys(utterances, step) | read_quarantine(folder))


def remove_from_quarantine(folder: Path, utterances: Sequence[str]) -> None:
    kept = {id_: step for id_, step in read_quarantine(folder).items() if id_ not in utterances}
    _write(folder / QUARANTINE_FILE, kept)


def _read(path: Path, expected: str, value_type: type | UnionType) -> dict[str, Any]:
    """Content of the file, {} if there is none; `expected` describes a valid one in error messages."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON ({error}); correct or remove it") from error
    if not isinstance(content, dict) or not all(isinstance(value, value_type) for value in content.values()):
        raise UserError(f"{path}: expected {expected}; correct or remove it")
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_replacement(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
