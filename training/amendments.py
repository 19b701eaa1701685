"""What had to change in a run's recipe for it to go on, in a file beside its checkpoints' settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from corpus.atomic_file import replacing
from hparams import HParams, UserError, build_hparams

NAME = "amendments.json"


def amend(folder: Path, hparams: HParams, changes: Mapping[str, int]) -> HParams:
    """The recipe with these changes, which the run keeps from now on."""
    kept = _read(folder) | dict(changes)
    with replacing(folder / NAME) as temporary:
        temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return amended(folder, hparams)


def amended(folder: Path, hparams: HParams) -> HParams:
    """The recipe as this run has come to need it."""
    changes = _read(folder)
    return build_hparams(hparams.model_dump(), changes) if changes else hparams


def _read(folder: Path) -> dict[str, int]:
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON ({error}); mend or remove it") from error
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected {{"setting": value, …}}; mend or remove it')
    return content
