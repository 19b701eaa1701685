"""State of a run that is still going on, kept up to date by reading only what its journal has gained."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitoring.journal.journal_state import JournalState
from monitoring.journal.tail import JournalReader


class CurrentState:
    """Source of a run's present state for several threads; the journal is read in pieces and each of them once."""

    def __init__(self, folder: Path) -> None:
        self._reader, self._state = JournalReader(folder / "journal.jsonl"), JournalState(folder.name)
        self._lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[JournalState]:
        """Yield the state, which no other thread changes meanwhile."""
        with self._lock:
            while records := self._reader.read():
                self._state.apply_all(records)
            yield self._state
