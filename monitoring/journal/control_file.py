"""Requests to a running training: companion/orders.jsonl, to which one process appends and which the training reads.

People request `pause`, `resume`, `stop`, `set`, `approve` and `reject`; the companion appends a `note` when it fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

MAX_LINE_LENGTH, MAX_NOTE_LENGTH = 4_000, 500  # characters
REQUIRED_FIELDS = {"note": ("text",), "set": ("knob", "value"), "approve": ("number",), "reject": ("number",)}


class PersonRequest(BaseModel):
    """One line of the request file; its field names are the keys in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order: Literal["note", "pause", "resume", "stop", "set", "approve", "reject"]
    by: str
    at: float  # seconds since 1970
    knob: str | None = None
    value: FiniteFloat | None = None
    number: int | None = None  # of the intervention that waits for approval
    text: str | None = None

    @model_validator(mode="after")
    def _has_required_fields(self) -> Self:
        if missing := [name for name in REQUIRED_FIELDS.get(self.order, ()) if getattr(self, name) is None]:
            raise ValueError(f"{self.order}: expected {' and '.join(missing)}")
        return self

    def journal_fields(self) -> dict[str, Any]:
        """Return the fields for a journal record, which has a time of its own."""
        return self.model_dump(exclude_none=True, exclude={"at"})


class RequestFile:
    """Writer of the request file."""

    def __init__(self, run: Path) -> None:
        self._path = _request_path(run)

    def append(self, order: str, by: str, **fields: Any) -> None:
        line = PersonRequest.model_validate({"order": order, "by": by, "at": time.time(), **fields}).model_dump_json()
        if len(line) > MAX_LINE_LENGTH:
            raise ValueError(f"{order}: expected at most {MAX_LINE_LENGTH} characters, got {len(line)}")
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # the newline in front separates this line from one that a full disk has cut short
            os.write(file, f"\n{line}\n".encode())
        finally:
            os.close(file)

    def append_note(self, text: str) -> None:
        """Append a text for the training to journal and to show in its output."""
        self.append("note", "companion", text=text[:MAX_NOTE_LENGTH])


class RequestReader:
    """Reader of the request file from an offset on."""

    def __init__(self, run: Path, offset: int | None = None) -> None:
        """Without an offset, start at the present end of the file."""
        self._path = _request_path(run)
        self.offset = self._file_size() if offset is None else offset

    def read(self) -> Iterator[PersonRequest]:
        """Yield the new requests, `offset` being behind each; for an invalid line yield a note about it."""
        if self._file_size() <= self.offset:
            return
        with self._path.open("rb") as file:
            file.seek(self.offset)
            lines = file.read().split(b"\n")[:-1]
        for line in lines:
            self.offset += len(line) + 1
            if line:
                yield _parse_request(line)

    def _file_size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0


def _request_path(run: Path) -> Path:
    return run / "companion" / "orders.jsonl"


def _parse_request(line: bytes) -> PersonRequest:
    try:
        return PersonRequest.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        text = f"an order cannot be read ({problem}): {line[:80]!r}"
        return PersonRequest(order="note", by="training", at=time.time(), text=text[:MAX_NOTE_LENGTH])
