"""A small JSON file of a run that says a number by name, and that a person may edit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from files import atomic_replacement
from hparams import UserError


def read_numbers(path: Path, expected: str, kind: type | UnionType = int) -> dict[str, Any]:
    """Nothing where there is no such file; `expected` shows what should have been in a spoilt one."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON ({error}); mend or remove it") from error
    if not isinstance(content, dict) or not all(isinstance(number, kind) for number in content.values()):
        raise UserError(f"{path}: expected {expected}; mend or remove it")
    return content


def write_numbers(path: Path, content: Mapping[str, float]) -> None:
    with atomic_replacement(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
