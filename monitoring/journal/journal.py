"""The append-only record of a run: one JSON object a line, safe under a kill and a full disk."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from files import truncate_torn_line

SCHEMA_VERSION = 1
RESERVE_BYTES = 1_000_000
"""Room for some thousand records: enough to say how a run ended on a full disk."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Journal:
    """Appends records to a file that one process writes; each is on the disk before `write` returns."""

    def __init__(self, path: Path) -> None:
        self.phase: str | None = None  # of training, told by every record; None without a supervisor
        self._reserve = path.with_name(path.name + ".reserve")
        if path.exists():
            truncate_torn_line(path)
        self.keep_reserve()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; its reserve goes with it."""
        os.close(self._file)
        self._reserve.unlink(missing_ok=True)

    def write(self, kind: str, step: int, **fields: Any) -> None:
        """Append one record; on a full disk the reserve makes room, once.

        Fields are JSON values; a non-finite float becomes null, anything else (a secret above all) is refused.
        """
        head = {"schema_version": SCHEMA_VERSION, "time": datetime.now(UTC).isoformat(), "step": step, "kind": kind}
        if taken := head.keys() & fields.keys():
            raise ValueError(f"expected other names for the fields {sorted(taken)}: every record has its own")
        record = {name: _plain(value, name) for name, value in (head | {"phase": self.phase} | fields).items()}
        # a file name that is no UTF-8 holds lone surrogates; "\udc80" escapes them as JSON does
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._append(line)
        except OSError as error:
            if error.errno not in _NO_SPACE or not self._reserve.exists():
                raise
            self.release_reserve()
            self._append(line)

    def release_reserve(self) -> None:
        """Give the laid-by room to whatever has to be written last."""
        self._reserve.unlink(missing_ok=True)

    def keep_reserve(self) -> None:
        """Lay the reserve by if it is not there: after a full disk, once space has been made."""
        if self._reserve.exists() and self._reserve.stat().st_size == RESERVE_BYTES:
            return
        try:
            with self._reserve.open("wb") as reserve:
                # random, because a file system that compresses would keep no room with zeros
                reserve.write(os.urandom(RESERVE_BYTES))
                reserve.flush()
                os.fsync(reserve.fileno())
        except OSError:
            self._reserve.unlink(missing_ok=True)
            raise

    def _append(self, line: bytes) -> None:
        """Write and fsync one line; a failed one leaves no part of itself behind."""
        end = os.fstat(self._file).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)
            raise


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a journal, one by one; a torn last line, which a run may just be writing, is left out."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield parse_line(line.rstrip(b"\n"), f"{path}:{number}")


def read(path: Path) -> list[dict[str, Any]]:
    """All of them."""
    return list(records(path))


def parse_line(line: bytes, where: str) -> dict[str, Any]:
    """One record; `where` is for the message."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: expected one JSON object a line, got {line[:80]!r}: remove the line") from error
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a JSON object, got {line[:80]!r}: remove the line")
    return record


def _plain(value: Any, where: str) -> Any:
    """Return the value as JSON knows it, non-finite numbers as None; messages name `where`, never the content."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    raise TypeError(
        f"{where}: expected text, a number, a list or a dictionary by text, got {type(value).__name__}: "
        "convert it first; a secret does not belong in the journal"
    )
