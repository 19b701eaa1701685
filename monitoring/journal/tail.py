"""Whoever shows a run somewhere reads its journal as it grows, at their own pace, and knows where they were."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from files import write_atomically
from monitoring.journal.journal import parse_line
from monitoring.journal.run_state import JournalState

MOST_BYTES = 4_000_000  # read at once
LOOK_EVERY_SECONDS = 0.5
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0

Record = Mapping[str, Any]


class JournalSubscriber(Protocol):
    """Shows a run somewhere."""

    def on_record(self, record: Record, state: JournalState) -> None:
        """Note what is to be shown of a record; the state has it already. Nothing is written or sent here."""

    def flush(self) -> None:
        """Show what was noted. An OSError (a full disk, a server out of reach) may pass: then this is called again."""

    def state_dict(self) -> dict[str, Any]:
        """JSON: what a successor has to know."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JournalReader:
    """Gives the whole lines of a growing journal from an offset on."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path, self.offset = path, offset

    def read(self, until: int | None = None) -> list[dict[str, Any]]:
        """Some of the records that are there, up to the end of one at `until`; none when there is nothing new."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(MOST_BYTES if until is None else max(0, min(MOST_BYTES, until - self.offset)))
            if content and b"\n" not in content:
                content += file.readline()
        whole = content[: content.rfind(b"\n") + 1]
        where, self.offset = f"{self._path} from byte {self.offset} on", self.offset + len(whole)
        return [parse_line(line, where) for line in whole.split(b"\n")[:-1]]


class JournalTail(threading.Thread):
    """Thread that hands the records of a growing journal to one subscriber.

    It ends once `finish_requested` is set and nothing is left, or as soon as `cancel_requested` is set.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        make: Callable[[], JournalSubscriber],
        *,
        state_name: str | None = None,
        after: JournalTail | None = None,
        ends_after: JournalTail | None = None,
        warn: Callable[[str], None],
    ) -> None:
        """`state_name`: the name of the file it keeps its place in, if not its own.

        `after`: who has to have shown a record before this one sees it; `ends_after`: who has to end before it.
        """
        super().__init__(name=name, daemon=True)
        self._make, self._after, self._warn = make, after, warn
        self._ends_after = ends_after or after
        self._journal, self._state_file = folder / "journal.jsonl", folder / "companion" / f"{state_name or name}.json"
        self._run_name = folder.name
        self.finish_requested, self.cancel_requested = threading.Event(), threading.Event()
        self.offset, self._state = 0, dict[str, Any]()
        if self._state_file.exists():
            saved = json.loads(self._state_file.read_text(encoding="utf-8"))
            self.offset, self._state = saved["offset"], saved["state"]

    def run(self) -> None:
        """A subscriber that breaks is out, and says so; training and the others go on."""
        try:
            self._follow()
        except Exception as error:
            self._warn(f"{self.name}: ended by {type(error).__name__}; companion/log.txt in the run's folder says more")
            raise

    def _follow(self) -> None:
        reader, state = JournalReader(self._journal), JournalState(self._run_name)
        while reader.offset < self.offset and (told := reader.read(self.offset)):
            state.apply_all(told)
        subscriber = self._make()
        try:
            subscriber.load_state_dict(self._state)
            while not self.cancel_requested.is_set():
                is_last = self.finish_requested.is_set() and not _is_alive(self._ends_after)
                records = reader.read(self._after.offset if self._after and self._after.is_alive() else None)
                for record in records:
                    state.apply(record)
                    subscriber.on_record(record, state)
                if not self._flush(subscriber, reader.offset):
                    break
                if not records:
                    if is_last:
                        break
                    self.cancel_requested.wait(LOOK_EVERY_SECONDS)
        finally:
            subscriber.close()

    def _flush(self, subscriber: JournalSubscriber, offset: int) -> bool:
        """However long it takes; False when given up before."""
        wait = FIRST_WAIT_SECONDS
        while not self.cancel_requested.is_set():
            try:
                subscriber.flush()
                if offset != self.offset:
                    self._save(offset, subscriber.state_dict())
                return True
            except OSError as error:
                if wait == FIRST_WAIT_SECONDS:
                    self._warn(f"{self.name}: {error}; it will be caught up")
            self.cancel_requested.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        with contextlib.suppress(OSError):  # a disk that is full to the end
            self._save(self.offset, subscriber.state_dict())
        return False

    @property
    def is_behind(self) -> bool:
        """Whether something in the journal has not been shown."""
        return self._journal.exists() and self.offset < self._journal.stat().st_size

    def _save(self, offset: int, state: dict[str, Any]) -> None:
        content = json.dumps({"offset": offset, "state": state}, ensure_ascii=False)
        write_atomically(self._state_file, content.encode("utf-8", "backslashreplace"))
        self.offset = offset


def _is_alive(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.is_alive()
