"""Processes that start with the program's libraries already imported, which takes most of the time of a small run.

A server that has imported them forks each process.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any
from unittest.mock import patch

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([f"{__name__}_server"])


class WarmProcess:
    """The part of subprocess.Popen's interface that tests use; libraries compute with one thread."""

    def __init__(self, task: Callable[..., object], *arguments: Any, **environment: str) -> None:
        with patch.dict(os.environ, OMP_NUM_THREADS="1"):  # a process with threads cannot be forked safely
            forkserver.ensure_running()
        self._outputs = os.memfd_create("out"), os.memfd_create("err")
        context = os.getcwd(), os.environ | environment, *map(DupFd, self._outputs)
        self._process = _context.Process(target=_run, args=(task, arguments, *context))
        self._process.start()
        assert self._process.pid is not None, "started processes have an id"
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (os.pread(file, os.fstat(file).st_size, 0).decode() for file in self._outputs)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        for file in self._outputs:
            os.close(file)


def warm_program(program: Path, arguments: list[str], **environment: str) -> WarmProcess:
    """Start the equivalent of `python PROGRAM ARGUMENTS`."""
    return WarmProcess(_run_program, program, arguments, **environment)


def _run(
    task: Callable[..., object], arguments: tuple[Any, ...], folder: str, environment: dict[str, str], *outputs: Any
) -> None:
    for number, file in enumerate(outputs, start=1):
        os.dup2(file.detach(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    task(*arguments)


def _run_program(program: Path, arguments: list[str]) -> None:
    sys.argv = [str(program), *arguments]
    runpy.run_path(str(program), run_name="__main__")
