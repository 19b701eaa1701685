"""Append-only journal of a run: one JSON object a line; survives a killed process and a full disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from files import is_disk_full, truncate_torn_line

SCHEMA_VERSION = 1
RESERVE_BYTES = 1_000_000
"""Size of the reserve file, which is deleted on a full disk: room for the last few thousand records."""

RETURN_MARK = "returned"
"""Field of records that repeat what a record `abandoned` holds, once training continues with it."""

Record = Mapping[str, Any]


class Journal:
    """Writer of a journal; only one process at a time. Each record is synced to the disk before `write` returns."""

    def __init__(self, path: Path) -> None:
        self.phase: str | None = None  # of training, written into every record; None without a supervisor
        self._reserve = path.with_name(path.name + ".reserve")
        if path.exists():
            truncate_torn_line(path)
        self.allocate_reserve()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def close(self) -> None:
        """Close the file and delete the reserve."""
        os.close(self._file)
        self._reserve.unlink(missing_ok=True)

    def write(self, kind: str, step: int, **fields: Any) -> None:
        """Append one record; on a full disk delete the reserve and try once more.

        Fields are JSON values. A non-finite float becomes null; other types (above all `SecretStr`) are a TypeError.
        """
        head = {"schema_version": SCHEMA_VERSION, "time": datetime.now(UTC).isoformat(), "step": step, "kind": kind}
        if reserved := head.keys() & fields.keys():
            raise ValueError(f"expected other names for the fields {sorted(reserved)}: every record has its own")
        record = {name: _to_json_value(value, name) for name, value in (head | {"phase": self.phase} | fields).items()}
        # a file name that is not UTF-8 holds lone surrogates: backslashreplace writes them as JSON escapes ("\udc80")
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._append(line)
        except OSError as error:
            if not is_disk_full(error) or not self._reserve.exists():
                raise
            self.release_reserve()
            self._append(line)

    def release_reserve(self) -> None:
        """Delete the reserve: its room is for the files that are written last."""
        self._reserve.unlink(missing_ok=True)

    def allocate_reserve(self) -> None:
        """Write the reserve if it is missing or incomplete: on opening, and once a full disk has space again."""
        if self._reserve.exists() and self._reserve.stat().st_size == RESERVE_BYTES:
            return
        try:
            with self._reserve.open("wb") as reserve:
                # random bytes, because a compressing file system would store zeros in no space at all
                reserve.write(os.urandom(RESERVE_BYTES))
                reserve.flush()
                os.fsync(reserve.fileno())
        except OSError:
            self._reserve.unlink(missing_ok=True)
            raise

    def _append(self, line: bytes) -> None:
        """Write and sync one line; after a failure cut off the part that was written."""
        end = os.fstat(self._file).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)
            raise


def iter_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a journal without an unfinished last line, which the run may be writing just now."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # its rest may be written meanwhile, and would look like a line of its own
            yield parse_record(line.rstrip(b"\n"), f"{path}:{number}")


def read_journal(path: Path) -> list[dict[str, Any]]:
    return list(iter_records(path))


def parse_record(line: bytes, location: str) -> dict[str, Any]:
    """Parse one line; `location` (file and line) is named in errors."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{location}: expected one JSON object a line, got {line[:80]!r}: remove the line") from error
    if not isinstance(record, dict):
        raise ValueError(f"{location}: expected a JSON object, got {line[:80]!r}: remove the line")
    return record


def _to_json_value(value: Any, name: str) -> Any:
    """Convert to plain JSON types, non-finite numbers to None; errors name the field and never the content."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_to_json_value(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _to_json_value(item, f"{name}.{key}") for key, item in value.items()}
    raise TypeError(
        f"{name}: expected text, a number, a list or a dictionary with text keys, got {type(value).__name__}: "
        "convert it first; a secret does not belong in the journal"
    )
