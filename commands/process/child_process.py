"""One training process under watch: started, listened to, and ended when it is stuck."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.process.forwarded_signals import ForwardedSignals
from commands.process.heartbeat import VARIABLE
from training.progress_timeout import AwakeClock, ProgressTimeout

TICK_SECONDS = 1.0
_READ_BYTES = 65_536


@dataclass
class Session:
    """What one process told, and how it ended."""

    folder: Path | None = None
    last_step: int | None = None
    was_meant_to_end: bool = False
    is_stuck: bool = False
    silent_seconds: float = 0.0
    limit_seconds: float = 0.0
    returncode: int = 0  # as subprocess has it: negative for a signal


class WatchedProcess:
    """A child in a session of its own, so that no terminal stops it and all that it started can be ended with it."""

    def __init__(
        self,
        command: Sequence[str],
        patience: ProgressTimeout,
        signals: ForwardedSignals,
        on_training: Callable[[Path], None] = lambda _run: None,
    ) -> None:
        """`on_training` is told the run's folder once training begins."""
        self._on_training = on_training
        self._session, self._patience, self._clock = Session(), patience, AwakeClock(2 * TICK_SECONDS)
        self._patience.begin("start", self._clock.now())
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        self._is_open, self._unfinished_line = True, b""
        environment = os.environ | {VARIABLE: f"{theirs},{os.getpid()}"}
        self._child = subprocess.Popen(command, pass_fds=[theirs], env=environment, start_new_session=True)
        os.close(theirs)
        signals.go_to(self._child)

    def attend(self) -> Session:
        """Until it has ended, by itself or because it was stuck."""
        session = self._session
        while self._child.poll() is None:
            self._wait()
            self._listen()
            session.silent_seconds = self._patience.waited_seconds(self._clock.now())
            session.limit_seconds = self._patience.limit_seconds
            if session.silent_seconds > session.limit_seconds:
                session.is_stuck = True
                self._kill_all()
                self._child.wait()
        self._listen()
        os.close(self._pipe)
        session.returncode = self._child.returncode
        if session.returncode != 0:
            self._kill_all()  # a process that it left behind may hold the run's lock
        return session

    def _wait(self) -> None:
        """For a beat, the end of the process or the next tick."""
        if self._is_open:
            select.select([self._pipe], [], [], TICK_SECONDS)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(TICK_SECONDS)

    def _listen(self) -> None:
        """Take in all that was said so far."""
        with contextlib.suppress(BlockingIOError):
            while content := os.read(self._pipe, _READ_BYTES):
                *lines, self._unfinished_line = (self._unfinished_line + content).split(b"\n")
                for line in lines:
                    self._hear(*json.loads(line))
            self._is_open = False

    def _hear(self, kind: str, what: str | int | None = None) -> None:
        """The words of `Heartbeat`."""
        now, session = self._clock.now(), self._session
        match kind, what:
            case "folder", str():
                session.folder = Path(what)
            case "training", None if session.folder is not None:
                self._on_training(session.folder)
            case "step", int():
                session.last_step = max(what, session.last_step or 0)
                self._patience.done(now)
            case "begin", str():
                self._patience.begin(what, now)
            case "done", None:
                self._patience.done(now)
            case "end", None:
                session.was_meant_to_end = True
                self._patience.begin("end", now)
            case _:
                raise ValueError(f"expected one of the words of a heartbeat, got {kind!r}, {what!r}")

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
