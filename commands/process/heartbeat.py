"""Pipe from a training process to its watchdog: messages about its progress; the process dies with its watchdog."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

VARIABLE = "TRAINING_HEARTBEAT"
"""Environment variable with the file descriptor of the pipe and the process id of the watchdog: `7,12345`."""

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Heartbeat:
    """Sender of progress messages, one JSON list a line; without a watchdog (`pipe` is None) it sends nothing."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe

    def close(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)

    @property
    def has_watchdog(self) -> bool:
        return self._pipe is not None

    def report_folder(self, run: Path) -> None:
        self._send("folder", str(run.absolute()))

    def report_training(self) -> None:
        """Training begins: from now on the journal has something to show."""
        self._send("training")

    def report_step(self, step: int) -> None:
        """A step is done; the next one follows unless `begin` says otherwise."""
        self._send("step", step)

    def begin(self, work: str) -> None:
        """Work begins that takes another time than a step; it lasts until `done`."""
        self._send("begin", work)

    def done(self) -> None:
        self._send("done")

    def end(self) -> None:
        """The training is over: a restart would change nothing, whatever the exit code."""
        self._send("end")

    def _send(self, *message: str | int) -> None:
        """Write without waiting: a message that a stopped watchdog or a full pipe does not take is dropped."""
        if self._pipe is None:
            return
        try:
            with contextlib.suppress(BlockingIOError):
                os.write(self._pipe, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:  # without its watchdog nobody could stop this training any more
            os.kill(os.getpid(), signal.SIGKILL)


class PreparatoryHeartbeat(Heartbeat):
    """Heartbeat of a training before the run's own: the watchdog hears that it goes on, but not of its steps and end.

    Its work has names of its own, so that the watchdog learns nothing from it about the time that the run's may take.
    """

    def __init__(self, run: Heartbeat) -> None:
        super().__init__(None)
        self._run = run

    def report_step(self, step: int) -> None:
        self.done()

    def begin(self, work: str) -> None:
        self._run.begin(f"preparatory {work}")

    def done(self) -> None:
        self._run.done()
        self.begin("step")

    def over(self) -> None:
        """The run's own training is prepared now, which may take long."""
        self._run.begin("preparation")


def open_heartbeat() -> Heartbeat:
    """Heartbeat to the watchdog that the environment names; child processes get none."""
    value = os.environ.pop(VARIABLE, None)
    if value is None:
        return Heartbeat(None)
    pipe, watchdog = map(int, value.split(","))
    os.set_inheritable(pipe, False)
    os.set_blocking(pipe, False)
    die_with_parent(watchdog, signal.SIGKILL)
    return Heartbeat(pipe)


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Have this process receive the signal when its parent ends.

    On Linux the kernel sends it, even to a stuck process; elsewhere only the broken pipe ends the process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # the parent ended before the call above
        os.kill(os.getpid(), number)
