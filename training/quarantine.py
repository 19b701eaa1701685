"""Utterances kept out of training, in a file of the run that survives restarts and that a person may edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from corpus.atomic_file import replacing
from hparams import UserError

NAME = "quarantine.json"


def read_quarantine(folder: Path) -> dict[str, int]:
    """Utterance id → the step at which it was found out."""
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON ({error}); mend or remove it") from error
    if not isinstance(content, dict) or not all(isinstance(step, int) for step in content.values()):
        raise UserError(f'{path}: expected {{"utterance id": step, …}}; mend or remove it')
    return content


def add_to_quarantine(folder: Path, utterances: Sequence[str], *, step: int) -> None:
    known = read_quarantine(folder)
    content = known | {id_: step for id_ in utterances if id_ not in known}
    with replacing(folder / NAME) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
