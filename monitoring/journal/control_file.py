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

LONGEST_LINE, LONGEST_NOTE = 4_000, 500
NEEDED = {"note": ("text",), "set": ("knob", "value"), "approve": ("number",), "reject": ("number",)}


class Order(BaseModel):
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

    def told(self) -> dict[str, Any]:
        """As the journal has it, which has a time of its own."""
        return self.model_dump(exclude_none=True, exclude={"at"})


class OrderBox:
    """Where orders are put."""

    def __init__(self, run: Path) -> None:
        self._path = run / "companion" / "orders.jsonl"

    def put(self, order: str, by: str, **fields: Any) -> None:
        """A line of its own even after one that a full disk has cut off."""
        line = Order.model_validate({"order": order, "by": by, "at": time.time(), **fields}).model_dump_json()
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{order}: expected at most {LONGEST_LINE} characters, got {len(line)}")
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"\n{line}\n".encode())
        finally:
            os.close(file)

    def note(self, text: str) -> None:
        """Something that whoever looks at the training's output should know."""
        self.put("note", "companion", text=text[:LONGEST_NOTE])


class OrderReader:
    """Gives the orders that were put in after an offset."""

    def __init__(self, run: Path, offset: int | None = None) -> None:
        """Without one, those that are put in from now on."""
        self._path = run / "companion" / "orders.jsonl"
        self.offset = self._size() if offset is None else offset

    def read(self) -> Iterator[Order]:
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


def _parsed(line: bytes) -> Order:
    try:
        return Order.model_validate_json(line)
    except ValidationError as error:
        what = error.errors(include_url=False, include_input=False)[0]["msg"]
        text = f"an order cannot be read ({what}): {line[:80]!r}"
        return Order(order="note", by="training", at=time.time(), text=text[:LONGEST_NOTE])
