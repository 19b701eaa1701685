"""Stop signals (Ctrl-C, a cluster's preemption): handled by a training, or forwarded by a parent to its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Self

from commands.process.exit_codes import STOP_SIGNALS

if TYPE_CHECKING:  # the watchdog imports this module and must not load torch
    from training.run_state import RunLimits


class StopSignals:
    """Stop signals of a training process, handled while this context is active.

    Before `training_starts` a signal ends the program. During training it requests a stop with its name, so that the
    training saves and stops; a second Ctrl-C ends the program. After `training_ends` the result is written, signals do
    nothing, and Ctrl-C stays ignored until the process exits.
    """

    def __init__(self, limits: RunLimits) -> None:
        self._limits, self._is_training, self._is_over = limits, False, False

    def __enter__(self) -> Self:
        self._earlier_handlers = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier_handlers.items():
            stays_ignored = self._is_over and number == signal.SIGINT
            signal.signal(number, signal.SIG_IGN if stays_ignored else handler)

    def training_starts(self) -> None:
        self._is_training = True

    def training_ends(self) -> None:
        self._is_over = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._is_over:
            return
        is_second_interrupt = self._limits.stop is not None and number == signal.SIGINT
        if not self._is_training or is_second_interrupt:
            raise SystemExit(STOP_SIGNALS[number])
        self._limits.request_stop(signal.Signals(number).name)


class SignalForwarder:
    """Forwards stop signals and Ctrl-Z to child processes while this context is active.

    The children have sessions of their own, so the terminal's signals reach them only from here. `received` is the
    first stop signal.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        handlers = dict.fromkeys(STOP_SIGNALS, self._on_stop) | {signal.SIGTSTP: self._on_pause}
        self._earlier_handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier_handlers.items():
            signal.signal(number, handler)

    def add(self, child: subprocess.Popen[bytes]) -> None:
        """Forward to this child too; a stop signal that arrived while it was being started is sent at once."""
        self._children = [other for other in self._children if other.returncode is None]
        if self.received is not None:
            _send(child, self.received)
        self._children.append(child)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        self._send_to_all(number)

    def _on_pause(self, _number: int, _frame: FrameType | None) -> None:
        """Stop the children and this process; after SIGCONT all continue."""
        self._send_to_all(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send_to_all(signal.SIGCONT)

    def _send_to_all(self, number: int) -> None:
        for child in self._children:
            _send(child, number)


@contextmanager
def interruptible_wait() -> Iterator[None]:
    """Let every stop signal raise KeyboardInterrupt, whatever its handler was before."""
    earlier_handlers = {number: signal.signal(number, signal.default_int_handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in earlier_handlers.items():
            signal.signal(number, handler)


def _send(child: subprocess.Popen[bytes], number: int) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
