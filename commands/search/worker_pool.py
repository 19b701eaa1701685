"""Pool of the worker processes of a study on this machine; a worker that is killed is started again."""

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
"""Environment variable with the storage URL: its password would be visible among a process's arguments."""
MAX_RESTARTS = 3
"""Restarts in a row without a finished trial."""


class WorkerPool:
    """Workers, each with a session of its own and a log in the study's folder."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, *, n_workers: int, storage: str | None, signals: SignalForwarder
    ) -> None:
        """`arguments`: those of commands.search.worker after its first two."""
        self._arguments, self._folder, self._signals = arguments, folder / "workers", signals
        self._environment = {name: value for name, value in os.environ.items() if name != STORAGE_VARIABLE}
        self._environment |= {} if storage is None else {STORAGE_VARIABLE: storage}
        self._folder.mkdir(exist_ok=True)
        self._processes = {number: self._start(number) for number in range(1, n_workers + 1)}
        self._restarts, self._n_done = 0, 0
        self.exit_codes: dict[int, int] = {}

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        with self._log_file(number).open("ab") as log:
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

    def restart_killed(self, n_done: int) -> bool:
        """Start killed workers again; return whether any worker runs. `n_done`: number of finished trials."""
        if n_done > self._n_done:
            self._restarts, self._n_done = 0, n_done
        for number, process in list(self._processes.items()):
            if (code := process.poll()) is None:
                continue
            was_killed = code < 0 or code in STOP_SIGNALS.values()
            if was_killed and self._signals.received is None and self._restarts < MAX_RESTARTS:
                self._restarts += 1
                self._processes[number] = self._start(number)
                continue
            self.exit_codes[number] = code
            del self._processes[number]
        return bool(self._processes)

    def last_log_line(self, number: int) -> str:
        lines = self._log_file(number).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def _log_file(self, number: int) -> Path:
        return self._folder / f"{os.uname().nodename}-{os.getpid()}-{number}.txt"
