"""What was found out once, by a key, in a file that only grows: a line for each, with a checksum before it.

Several processes may add to it at the same time. A kill leaves at most a torn line, which is passed over.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class LineIndex:
    """All that a file says, in memory; what comes later counts."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._known: dict[str, Any] = dict(_read(path))

    def get(self, key: str) -> Any:
        """None where nothing is known."""
        return self._known.get(key)

    def add(self, found: Mapping[str, Any]) -> None:
        lines = b"".join(_line(key, value) for key, value in found.items())
        with self._lock:
            self._known |= found
            place = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(place, b"\n" + lines if _is_torn(self._path) else lines)
            finally:
                os.close(place)


def _line(key: str, value: Any) -> bytes:
    body = json.dumps([key, value], ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            checksum, _, body = line.rstrip(b"\n").partition(b" ")
            if checksum == b"%08x" % zlib.crc32(body):
                key, value = json.loads(body.decode("utf-8", "surrogatepass"))
                yield key, value


def _is_torn(path: Path) -> bool:
    """Whether the last line lacks its end."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
