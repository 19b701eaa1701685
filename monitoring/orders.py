"""What is said to a running training: a file in its folder that one side appends to and the other reads.

People ask for `pause`, `resume`, `stop`, `set`, `approve` and `reject`; a companion leaves notes of what it cannot do.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

LONGEST_LINE, LONGEST_NOTE = 4_000, 500


class OrderBox:
    """Where orders are put; each has an id by which the journal tells what became of it."""

    def __init__(self, run: Path) -> None:
        self._path = run / "companion" / "orders.jsonl"

    def put(self, order: str, by: str, **fields: Any) -> str:
        id_ = secrets.token_hex(4)
        line = json.dumps({"id": id_, "order": order, "by": by, **fields}) + "\n"
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{order}: expected at most {LONGEST_LINE} characters, got {len(line)}")
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        return id_

    def note(self, text: str) -> None:
        """Something that whoever looks at the training's output should know."""
        self.put("note", "companion", text=text[:LONGEST_NOTE])


class OrderReader:
    """Gives the orders that were put in since it was made: those before were for an earlier session."""

    def __init__(self, run: Path) -> None:
        self._path = run / "companion" / "orders.jsonl"
        self._offset = self._size()

    def read(self) -> list[dict[str, Any]]:
        if self._size() <= self._offset:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole = file.read().rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        return [dict(json.loads(line)) for line in whole.splitlines()]

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0
