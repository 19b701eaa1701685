"""Exit codes of the program."""

from __future__ import annotations

import signal

EXIT_FAILED = 1
EXIT_USER_ERROR = 2  # the input is wrong; one line on standard error says why
EXIT_HOPELESS = 3  # stopped by the supervisor, or given up by the watchdog
STOP_SIGNALS: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
"""Signals that ask a training to save and stop, each with the exit code that follows."""


def exit_code_of(signal_name: str) -> int:
    return STOP_SIGNALS[signal.Signals[signal_name]]
