"""What is said to a running training: a file in its folder that one side appends to and the other reads.

People ask for `pause`, `resume`, `stop`, `set`, `approve` and `reject`; a companion leaves notes of what it cannot do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

MAX_LINE_LENGTH, MAX_NOTE_LENGTH = 4_000, 500
NEEDED = {"note": ("text",), "set": ("knob", "value"), "approve": ("number",), "reject": ("number",)}


class PersonRequest(BaseModel):
    """One line of the box."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order: Literal["note", "pause", "resume", "stop", "set", "approve", "reject"]
    by: str
    at: float  # seconds since 1970
    knob: str | None = None
    value: FiniteFloat | None = None
    number: int | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if missing := [name for name in NEEDED.get(self.order, ()) if getattr(self, name) is None]:
            raise ValueError(f"{self.order}: expected {' and '.join(missing)}")
        return self

    def journal_fields(self) -> dict[str, Any]:
        """As the journal has it, which has a time of its own."""
        return self.model_dump(exclude_none=True, exclude={"at"})


class RequestFile:
    """Where orders are put."""

    def __init__(self, run: Path) -> None:
        self._path = run / "companion" / "orders.jsonl"

    def append(self, order: str, by: str, **fields: Any) -> None:
        """A line of its own even after one that a full disk has cut off."""
        line = PersonRequest.model_validate({"order": order, "by": by, "at": time.time(), **fields}).model_dump_json()
        if len(line) > MAX_LINE_LENGTH:
            raise ValueError(f"{order}: expected at most {MAX_LINE_LENGTH} characters, got {len(line)}")
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"\n{line}\n".encode())
        finally:
            os.close(file)

    def append_note(self, text: str) -> None:
        """Something that whoever looks at the training's output should know."""
        self.append("note", "companion", text=text[:MAX_NOTE_LENGTH])


class RequestReader:
    """Gives the orders that were put in after an offset."""

    def __init__(self, run: Path, offset: int | None = None) -> None:
        """Without one, those that are put in from now on."""
        self._path = run / "companion" / "orders.jsonl"
        self.offset = self._size() if offset is None else offset

    def read(self) -> Iterator[PersonRequest]:
        """One by one, with the offset behind each; what cannot be read is noted instead, by itself."""
        if self._size() <= self.offset:
            return
        with self._path.open("rb") as file:
            file.seek(self.offset)
            lines = file.read().split(b"\n")[:-1]
        for line in lines:
            self.offset += len(line) + 1
            if line:
                yield _parsed(line)

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0


def _parsed(line: bytes) -> PersonRequest:
    try:
        return PersonRequest.model_validate_json(line)
    except ValidationError as error:
        what = error.errors(include_url=False, include_input=False)[0]["msg"]
        text = f"an order cannot be read ({what}): {line[:80]!r}"
        return PersonRequest(order="note", by="training", at=time.time(), text=text[:MAX_NOTE_LENGTH])
