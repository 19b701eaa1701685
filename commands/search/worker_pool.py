"""The workers of a study on this machine: started together, and started again when one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.process.exit_codes import STOP_SIGNALS
from commands.process.signals import SignalForwarder
from files import REPOSITORY

STORAGE_VARIABLE = "STUDY_STORAGE"
MOST_DEATHS = 3
"""In a row, without a trial that came to its end."""


class Workers:
    """Each has a session of its own and a log in the study's folder."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, n_workers: int, storage: str | None, signals: SignalForwarder
    ) -> None:
        """`storage` may hold a password, which other people on the machine would see among the arguments."""
        self._arguments, self._folder, self._signals = arguments, folder / "workers", signals
        self._environment = {name: value for name, value in os.environ.items() if name != STORAGE_VARIABLE}
        self._environment |= {} if storage is None else {STORAGE_VARIABLE: storage}
        self._folder.mkdir(exist_ok=True)
        self._processes = {number: self._started(number) for number in range(1, n_workers + 1)}
        self._deaths, self._n_done = 0, 0
        self.exit_codes: dict[int, int] = {}

    def _started(self, number: int) -> subprocess.Popen[bytes]:
        with self._log_of(number).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "commands.search.worker", str(os.getpid()), os.getcwd(), *self._arguments],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._signals.add(process)
        return process

    def look(self, n_done: int) -> bool:
        """Start those again that were killed; whether any is still at work."""
        if n_done > self._n_done:
            self._deaths, self._n_done = 0, n_done
        for number, process in list(self._processes.items()):
            if (code := process.poll()) is None:
                continue
            if (
                (code < 0 or code in STOP_SIGNALS.values())
                and self._signals.received is None
                and self._deaths < MOST_DEATHS
            ):
                self._deaths += 1
                self._processes[number] = self._started(number)
                continue
            self.exit_codes[number] = code
            del self._processes[number]
        return bool(self._processes)

    def last_words(self, number: int) -> str:
        lines = self._log_of(number).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _log_of(self, number: int) -> Path:
        return self._folder / f"{os.uname().nodename}-{os.getpid()}-{number}.txt"
