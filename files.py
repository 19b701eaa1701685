"""Files that survive a kill: atomic writes, repair of torn lines, checksummed lines; and digests that name files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
READ_BLOCK_BYTES = 4096


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in NO_SPACE


def safe_name(id_: str) -> str:
    """Return a file name for an id: the id itself if it is safe; different ids have different names."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", id_) and not id_.endswith("."):
        return id_
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", id_)[:60].strip("_-")
    return f"{readable}~{hashlib.blake2b(id_.encode(), digest_size=8).hexdigest()}"


def hex_digest(content: str | bytes) -> str:
    """Return 32 hexadecimal digits that identify the content; keys of caches and indexes are made of them."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@contextmanager
def atomic_replacement(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    `sync` flushes the bytes to disk before the name appears; without it a power cut (not a kill) can leave a torn file.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write all of `content` to `path`, or nothing."""
    with atomic_replacement(path) as temporary:
        temporary.write_bytes(content)


def truncate_torn_line(path: Path) -> None:
    """Cut off a last line without a newline, which a killed writer left, so that the next line is not glued to it.

    Only for a file with one writer at a time: another writer's line might be cut while it is being written.
    """
    with path.open("rb") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - READ_BLOCK_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
    if end < size:
        os.truncate(path, end)


class ChecksummedIndex:
    """Dictionary of JSON values in an append-only file of lines `checksum [key,value]`; a key's last line counts.

    Several processes may append at the same time; each sees the entries that were there when it opened the file. A line
    that a kill has torn fails its checksum and is skipped.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._entries: dict[str, Any] = dict(_read_entries(path))

    def get(self, key: str) -> Any:
        """Return the value of a key, or `None` if there is none."""
        return self._entries.get(key)

    def add(self, entries: Mapping[str, Any]) -> None:
        """Append entries in a single write, so that those of other processes are not mixed into them."""
        lines = b"".join(_format_entry(key, value) for key, value in entries.items())
        with self._lock:
            self._entries |= entries
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                # Another process may be appending, so a torn line is ended here instead of being cut off.
                os.write(file, b"\n" + lines if _ends_in_torn_line(self._path) else lines)
            finally:
                os.close(file)


def _format_entry(key: str, value: Any) -> bytes:
    body = json.dumps([key, value], ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _read_entries(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            checksum, _, body = line.rstrip(b"\n").partition(b" ")
            if checksum == b"%08x" % zlib.crc32(body):
                key, value = json.loads(body.decode("utf-8", "surrogatepass"))
                yield key, value


def _ends_in_torn_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
