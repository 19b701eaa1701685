"""How far a training has come with what people asked of it, for a successor after a crash."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from monitoring.atomic_file import write_atomically


@dataclass(frozen=True)
class Place:
    offset: int  # in the box of orders
    is_paused: bool


def keep_place(run: Path, place: Place) -> None:
    path = _path(run)
    with contextlib.suppress(OSError):  # a full disk: at worst something is asked twice
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(asdict(place)).encode())


def kept_place(run: Path) -> Place | None:
    path = _path(run)
    return Place(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _path(run: Path) -> Path:
    return run / "companion" / "order-place.json"
