"""Ctrl-C and a cluster's signals: before training they end the program, during it they ask it to save and stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # the watchdog reads the exit codes and does without torch
    from training.trainer import Limits

EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


class StopSignals:
    """While entered, signals are ours; from `training_starts` on they only set `limits.stop` to their name.

    From `training_ends` on they say nothing, since its last word is written; Ctrl-C for the rest of the process.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._training, self._is_over = limits, False, False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._received) for number in EXIT_CODES}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            ignored = self._is_over and number == signal.SIGINT
            signal.signal(number, signal.SIG_IGN if ignored else handler)

    def training_starts(self) -> None:
        self._training = True

    def training_ends(self) -> None:
        self._is_over = True

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if self._is_over:
            return
        asked_twice = self._limits.stop is not None and number == signal.SIGINT
        if not self._training or asked_twice:
            raise SystemExit(EXIT_CODES[number])
        self._limits.stop = signal.Signals(number).name


@contextmanager
def interruptible() -> Iterator[None]:
    """While entered, whoever asks for an end raises KeyboardInterrupt, whatever it did before."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(stop: str) -> int:
    return EXIT_CODES[signal.Signals[stop]]
