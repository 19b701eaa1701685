"""What a process that only attends to others is asked by signals goes to them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from types import FrameType
from typing import Self

from commands.process.stop_signals import EXIT_CODES


class ForwardedSignals:
    """While entered, every request to stop is passed on once; `asked` is the first one.

    The others have sessions of their own: what is typed on the terminal reaches them only through here.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        handlers = dict.fromkeys(EXIT_CODES, self._pass_on) | {signal.SIGTSTP: self._pause}
        self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def go_to(self, child: subprocess.Popen[bytes]) -> None:
        """From now on to this one too; what came while it was being started, at once."""
        self._children = [other for other in self._children if other.returncode is None]
        if self.asked is not None:
            _send(child, self.asked)
        self._children.append(child)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number)
        self._send(number)

    def _pause(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the work stops with its watchdog, and goes on with it."""
        self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        for child in self._children:
            _send(child, number)


def _send(child: subprocess.Popen[bytes], number: int) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
