"""Subscribers of a growing journal, and the thread that hands them its records at their own pace."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from files import write_atomically
from monitoring.journal.journal import Record, parse_record
from monitoring.journal.journal_state import JournalState

MAX_BYTES_PER_READ = 4_000_000
POLL_SECONDS = 0.5
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 60.0


class JournalSubscriber(Protocol):
    """Receiver of journal records, which it writes or sends somewhere: a report, TensorBoard, MLflow, a messenger."""

    def on_record(self, record: Record, state: JournalState) -> None:
        """Queue the output for a record, which `state` already includes; write and send nothing yet."""

    def flush(self) -> None:
        """Write or send the queued output.

        On an OSError (a full disk, an unreachable server) `flush` is called again later.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return as JSON values what the subscriber of the next session needs to continue."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JournalReader:
    """Reader of the complete lines of a growing journal from a byte offset on."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path, self.offset = path, offset

    def read(self, until: int | None = None) -> list[dict[str, Any]]:
        """Return the next records, at most those before byte `until`; an empty list when there is nothing new.

        One call reads about MAX_BYTES_PER_READ, or one line that is longer.
        """
        if not self._path.exists():
            return []
        max_bytes = MAX_BYTES_PER_READ if until is None else max(0, min(MAX_BYTES_PER_READ, until - self.offset))
        with self._path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(max_bytes)
            if content and b"\n" not in content:
                content += file.readline()
        complete = content[: content.rfind(b"\n") + 1]
        location = f"{self._path} from byte {self.offset} on"
        records = [parse_record(line, location) for line in complete.split(b"\n")[:-1]]
        self.offset += len(complete)
        return records


class JournalTail(threading.Thread):
    """Thread that hands the records of a growing journal to one subscriber.

    It ends once `finish_requested` is set and nothing is left, or as soon as `cancel_requested` is set. Its offset and
    the subscriber's state are saved after every flush, so that the next session continues there.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        make_subscriber: Callable[[], JournalSubscriber],
        *,
        state_name: str | None = None,
        after: JournalTail | None = None,
        ends_after: JournalTail | None = None,
        warn: Callable[[str], None],
    ) -> None:
        """Prepare the thread; `make_subscriber` is called in it.

        `state_name`: stem of the state file, if it is not the thread's name. `after`: a tail that must have flushed a
        record before this one reads it. `ends_after` (by default `after`): a tail that must end before this one.
        """
        super().__init__(name=name, daemon=True)
        self._make_subscriber, self._after, self._warn = make_subscriber, after, warn
        self._ends_after = ends_after or after
        self._journal, self._state_file = folder / "journal.jsonl", folder / "companion" / f"{state_name or name}.json"
        self._run_name = folder.name
        self.finish_requested, self.cancel_requested = threading.Event(), threading.Event()
        self.offset, self._subscriber_state = 0, dict[str, Any]()
        if self._state_file.exists():
            saved = json.loads(self._state_file.read_text(encoding="utf-8"))
            self.offset, self._subscriber_state = saved["offset"], saved["state"]

    def run(self) -> None:
        """Follow the journal; an error of the subscriber ends this thread only, after a warning."""
        try:
            self._follow()
        except Exception as error:
            self._warn(f"{self.name}: ended by {type(error).__name__}; companion/log.txt in the run's folder says more")
            raise

    def _follow(self) -> None:
        reader, state = JournalReader(self._journal), JournalState(self._run_name)
        while reader.offset < self.offset and (earlier_records := reader.read(self.offset)):
            state.apply_all(earlier_records)
        subscriber = self._make_subscriber()
        try:
            subscriber.load_state_dict(self._subscriber_state)
            while not self.cancel_requested.is_set():
                is_last_read = self.finish_requested.is_set() and not _is_alive(self._ends_after)
                records = reader.read(self._after.offset if self._after and self._after.is_alive() else None)
                for record in records:
                    state.apply(record)
                    subscriber.on_record(record, state)
                if not self._flush(subscriber, reader.offset):
                    break
                if not records:
                    if is_last_read:
                        break
                    self.cancel_requested.wait(POLL_SECONDS)
        finally:
            subscriber.close()

    def _flush(self, subscriber: JournalSubscriber, offset: int) -> bool:
        """Flush with retries until it succeeds; return False when cancelled before."""
        wait = FIRST_RETRY_SECONDS
        while not self.cancel_requested.is_set():
            try:
                subscriber.flush()
                if offset != self.offset:
                    self._save(offset, subscriber.state_dict())
                return True
            except OSError as error:
                if wait == FIRST_RETRY_SECONDS:
                    self._warn(f"{self.name}: {error}; retrying")
            self.cancel_requested.wait(wait)
            wait = min(2 * wait, MAX_RETRY_SECONDS)
        with contextlib.suppress(OSError):  # the disk may still be full: the next session then repeats more
            self._save(self.offset, subscriber.state_dict())
        return False

    @property
    def is_behind(self) -> bool:
        """Whether the journal holds records that were not flushed."""
        return self._journal.exists() and self.offset < self._journal.stat().st_size

    def _save(self, offset: int, subscriber_state: dict[str, Any]) -> None:
        content = json.dumps({"offset": offset, "state": subscriber_state}, ensure_ascii=False)
        write_atomically(self._state_file, content.encode("utf-8", "backslashreplace"))
        self.offset = offset


def _is_alive(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.is_alive()
