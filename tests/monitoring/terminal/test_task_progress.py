"""Progress of tasks before training, where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from monitoring.terminal.task_progress import ProgressLines, task_progress


def console(output: io.StringIO, *, terminal: bool = False) -> Console:
    return Console(file=output, force_terminal=terminal, width=100, soft_wrap=True)


@pytest.mark.parametrize(
    ("n_items", "per_second", "lines"),
    [
        (100, 100, []),
        (1200, 50, ["100 of 1,200, 22 s left", "600 of 1,200, 12 s left", "1,100 of 1,200, 2 s left"]),
    ],
)
def test_only_long_tasks_print_a_line_now_and_then(n_items: int, per_second: int, lines: list[str]) -> None:
    output, seconds = io.StringIO(), 0.0
    progress = ProgressLines(console(output), "reading recordings", now=lambda: seconds)
    for done in range(1, n_items + 1):
        seconds = done / per_second
        progress(done, n_items)
    assert output.getvalue().splitlines() == [f"reading recordings: {line}" for line in lines]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_a_bar(terminal: bool) -> None:
    output = io.StringIO()
    with task_progress(console(output, terminal=terminal), "reading recordings") as progress:
        progress(1, 10)
        progress(10, 10)
    assert ("reading recordings" in output.getvalue()) == terminal
