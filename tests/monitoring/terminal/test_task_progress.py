"""Progress of tasks before training, where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from monitoring.terminal.task_progress import ProgressLines, task_progress


def console(output: io.StringIO, *, terminal: bool = False) -> Console:
    return Console(file=output, force_terminal=terminal, width=100, soft_wrap=True)


def test_long_tasks_print_a_line_now_and_then() -> None:
    output, seconds = io.StringIO(), 0.0
    progress = ProgressLines(console(output), "reading recordings", now=lambda: seconds)
    for done in range(1, 2001):
        seconds = done / 50
        progress(done, 2000)
    assert output.getvalue().splitlines() == [
        *("reading recordings: 100 of 2,000, 38 s left", "reading recordings: 600 of 2,000, 28 s left"),
        *("reading recordings: 1,100 of 2,000, 18 s left", "reading recordings: 1,600 of 2,000, 8 s left"),
    ]


def test_short_tasks_print_nothing() -> None:
    output, seconds = io.StringIO(), 0.0
    progress = ProgressLines(console(output), "reading recordings", now=lambda: seconds)
    for done in range(1, 101):
        seconds = done / 100
        progress(done, 100)
    assert output.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_a_bar(terminal: bool) -> None:
    output = io.StringIO()
    with task_progress(console(output, terminal=terminal), "reading recordings") as progress:
        progress(1, 10)
        progress(10, 10)
    assert ("reading recordings" in output.getvalue()) == terminal
