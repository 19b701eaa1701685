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
from monitoring.journal.run_state import RunStory

MOST_BYTES = 4_000_000  # read at once
LOOK_EVERY_SECONDS = 0.5
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0

Record = Mapping[str, Any]


class Onlooker(Protocol):
    """Shows a run somewhere."""

    def take(self, record: Record, story: RunStory) -> None:
        """Note what is to be shown of a record; the story has it already. Nothing is written or sent here."""

    def settle(self) -> None:
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


class Following(threading.Thread):
    """Leads one onlooker through a journal until `end` is set and nothing is left, or `give_up` is set."""

    def __init__(
        self,
        name: str,
        folder: Path,
        make: Callable[[], Onlooker],
        *,
        memory: str | None = None,
        behind: Following | None = None,
        outlives: Following | None = None,
        say: Callable[[str], None],
    ) -> None:
        """`memory`: the name of the file it keeps its place in, if not its own.

        `behind`: who has to have shown a record before this one sees it; `outlives`: who has to end before it.
        """
        super().__init__(name=name, daemon=True)
        self._make, self._behind, self._say = make, behind, say
        self._outlives = outlives or behind
        self._journal, self._state_file = folder / "journal.jsonl", folder / "companion" / f"{memory or name}.json"
        self._run_name = folder.name
        self.end, self.give_up = threading.Event(), threading.Event()
        self.offset, self._state = 0, dict[str, Any]()
        if self._state_file.exists():
            saved = json.loads(self._state_file.read_text(encoding="utf-8"))
            self.offset, self._state = saved["offset"], saved["state"]

    def run(self) -> None:
        """An onlooker that breaks is out, and says so; training and the others go on."""
        try:
            self._follow()
        except Exception as error:
            self._say(f"{self.name}: ended by {type(error).__name__}; companion/log.txt in the run's folder says more")
            raise

    def _follow(self) -> None:
        reader, story = JournalReader(self._journal), RunStory(self._run_name)
        while reader.offset < self.offset and (told := reader.read(self.offset)):
            story.take_all(told)
        onlooker = self._make()
        try:
            onlooker.load_state_dict(self._state)
            while not self.give_up.is_set():
                is_last = self.end.is_set() and not _is_alive(self._outlives)
                records = reader.read(self._behind.offset if self._behind and self._behind.is_alive() else None)
                for record in records:
                    story.take(record)
                    onlooker.take(record, story)
                if not self._settle(onlooker, reader.offset):
                    break
                if not records:
                    if is_last:
                        break
                    self.give_up.wait(LOOK_EVERY_SECONDS)
        finally:
            onlooker.close()

    def _settle(self, onlooker: Onlooker, offset: int) -> bool:
        """However long it takes; False when given up before."""
        wait = FIRST_WAIT_SECONDS
        while not self.give_up.is_set():
            try:
                onlooker.settle()
                if offset != self.offset:
                    self._save(offset, onlooker.state_dict())
                return True
            except OSError as error:
                if wait == FIRST_WAIT_SECONDS:
                    self._say(f"{self.name}: {error}; it will be caught up")
            self.give_up.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        with contextlib.suppress(OSError):  # a disk that is full to the end
            self._save(self.offset, onlooker.state_dict())
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
