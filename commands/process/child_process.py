"""Training process under a watchdog: started, observed through its heartbeat, killed when it makes no progress."""

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

from commands.process.exit_codes import STOP_SIGNALS
from commands.process.heartbeat import VARIABLE
from commands.process.signals import SignalForwarder
from training.progress_timeout import AwakeClock, ProgressTimeout

TICK_SECONDS = 1.0
_READ_BYTES = 65_536


@dataclass
class ProcessOutcome:
    """Progress that one training process reported, and how the process ended."""

    run: Path | None = None
    last_step: int | None = None
    reported_end: bool = False
    is_stuck: bool = False
    silent_seconds: float = 0.0
    limit_seconds: float = 0.0
    returncode: int = 0  # as in subprocess: negative for a signal

    @property
    def exit_code(self) -> int:
        """The code a shell would report; a stop signal counts as if the program had handled it."""
        return self.returncode if self.returncode >= 0 else STOP_SIGNALS.get(-self.returncode, 128 - self.returncode)


class WatchedProcess:
    """Child process in a session of its own, which no terminal stops and which can be killed with all its children."""

    def __init__(
        self,
        command: Sequence[str],
        timeout: ProgressTimeout,
        signals: SignalForwarder,
        on_training: Callable[[Path], None] = lambda _run: None,
    ) -> None:
        """`on_training` is called with the run's folder when training begins."""
        self._on_training = on_training
        self._outcome, self._timeout, self._clock = ProcessOutcome(), timeout, AwakeClock(2 * TICK_SECONDS)
        self._timeout.begin("start", self._clock.now())
        self._pipe, child_end = os.pipe()
        os.set_blocking(self._pipe, False)
        self._is_pipe_open, self._unfinished_line = True, b""
        environment = os.environ | {VARIABLE: f"{child_end},{os.getpid()}"}
        self._child = subprocess.Popen(command, pass_fds=[child_end], env=environment, start_new_session=True)
        os.close(child_end)
        signals.add(self._child)

    def wait(self) -> ProcessOutcome:
        """Wait until the process ends, or kill it when it is stuck."""
        outcome = self._outcome
        while self._child.poll() is None:
            self._wait_for_message()
            self._read_messages()
            outcome.silent_seconds = self._timeout.waited_seconds(self._clock.now())
            outcome.limit_seconds = self._timeout.limit_seconds
            if outcome.silent_seconds > outcome.limit_seconds:
                outcome.is_stuck = True
                self._kill_all()
                self._child.wait()
        self._read_messages()
        os.close(self._pipe)
        outcome.returncode = self._child.returncode
        if outcome.returncode != 0:
            self._kill_all()  # a process that it started may still hold the run's lock
        return outcome

    def _wait_for_message(self) -> None:
        """Return at a message, the end of the process, or the next tick."""
        if self._is_pipe_open:
            select.select([self._pipe], [], [], TICK_SECONDS)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(TICK_SECONDS)

    def _read_messages(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while content := os.read(self._pipe, _READ_BYTES):
                *lines, self._unfinished_line = (self._unfinished_line + content).split(b"\n")
                for line in lines:
                    self._on_message(*json.loads(line))
            self._is_pipe_open = False

    def _on_message(self, kind: str, value: str | int | None = None) -> None:
        """Handle one of the messages that `Heartbeat` sends."""
        now, outcome = self._clock.now(), self._outcome
        match kind, value:
            case "folder", str():
                outcome.run = Path(value)
            case "training", None if outcome.run is not None:
                self._on_training(outcome.run)
            case "step", int():
                outcome.last_step = max(value, outcome.last_step or 0)
                self._timeout.done(now)
            case "begin", str():
                self._timeout.begin(value, now)
            case "done", None:
                self._timeout.done(now)
            case "end", None:
                outcome.reported_end = True
                self._timeout.begin("end", now)
            case _:
                raise ValueError(f"expected a message of a heartbeat, got {kind!r}, {value!r}")

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
