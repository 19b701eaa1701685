"""How far a training has come with what people asked of it, for a successor that it did not choose to have."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import BaseModel

from files import write_atomically
from monitoring.journal.control_file import PersonRequest
from monitoring.journal.summary import read_summary

SENT_AWAY = ("SIGTERM", "SIGUSR1")  # by a cluster, not by a person


class Place(BaseModel):
    offset: int  # in the box of orders
    paused_by: str | None = None
    unsaved: list[PersonRequest] = []
    """What was done since the last checkpoint."""


def keep_place(run: Path, place: Place) -> None:
    path = _path(run)
    with contextlib.suppress(OSError):  # a full disk: at worst something is asked twice
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, place.model_dump_json().encode())


def kept_place(run: Path) -> Place | None:
    """Of a session that was cut short; after an end that somebody meant, orders begin anew."""
    path, summary = _path(run), read_summary(run)
    was_cut_short = summary.get("status") in ("running", "failed") or summary.get("reason") in SENT_AWAY
    return Place.model_validate_json(path.read_bytes()) if was_cut_short and path.exists() else None


def _path(run: Path) -> Path:
    return run / "companion" / "order-place.json"
