"""Printed result of a benchmark and the exit code that follows from it."""

from __future__ import annotations

from collections.abc import Callable

Write = Callable[[str], object]


def conclude(write: Write, *, is_met: bool) -> int:
    """Print whether the requirements are met; return the exit code."""
    write(f"{result_word(is_met)}\n")
    return 0 if is_met else 1


def result_word(is_met: bool) -> str:
    return "ok" if is_met else "MISSED"
