"""What a training process tells the watchdog that started it, and why it dies with it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

VARIABLE = "TRAINING_HEARTBEAT"
"""Holds the number of the pipe to write to and the process id of the watchdog: `7,12345`."""

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Heartbeat:
    """Says how far training is, one JSON list a line; without a watchdog (`None`) it is silent."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._pipe is not None:
            os.close(self._pipe)

    def started(self, folder: Path) -> None:
        """The run lies there."""
        self.say("folder", str(folder.absolute()))

    def training(self) -> None:
        """There is something to be shown now."""
        self.say("training")

    @property
    def is_heard(self) -> bool:
        return self._pipe is not None

    def step(self, step: int) -> None:
        """A step is done, and what follows is the next one unless `begin` says otherwise."""
        self.say("step", step)

    def begin(self, work: str) -> None:
        """Something begins that takes another time than a step, until `done`."""
        self.say("begin", work)

    def done(self) -> None:
        self.say("done")

    def end(self) -> None:
        """All is done: whatever the exit code, a restart would bring nothing."""
        self.say("end")

    def say(self, *words: str | int) -> None:
        """Never waits: while nobody listens (a stopped watchdog, a full pipe) a beat is worth nothing later."""
        if self._pipe is None:
            return
        try:
            with contextlib.suppress(BlockingIOError):
                os.write(self._pipe, json.dumps(words).encode() + b"\n")
        except BrokenPipeError:  # the watchdog is gone: a training that nobody can stop any more must not go on
            os.kill(os.getpid(), signal.SIGKILL)


def open_heartbeat() -> Heartbeat:
    """The one that the environment names, once: processes started from here have none."""
    named = os.environ.pop(VARIABLE, None)
    if named is None:
        return Heartbeat(None)
    pipe, watchdog = map(int, named.split(","))
    os.set_inheritable(pipe, False)
    os.set_blocking(pipe, False)
    die_with(watchdog, signal.SIGKILL)
    return Heartbeat(pipe)


def die_with(parent: int, number: signal.Signals) -> None:
    """On Linux the kernel sends this signal, however stuck this process is; elsewhere the broken pipe has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it was gone before the kernel was asked
        os.kill(os.getpid(), number)
