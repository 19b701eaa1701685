"""Progress of a task that takes a while before training begins: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

FIRST_LINE_SECONDS, LINE_SECONDS = 2.0, 10.0

ReportProgress = Callable[[int, int], None]
"""Function that is called with the numbers of items done and in all."""


@contextmanager
def task_progress(console: Console, name: str) -> Iterator[ReportProgress]:
    """Yield a function that shows the progress of the task and the time it will still take."""
    if not console.is_terminal:
        yield ProgressLines(console, name)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class ProgressLines:
    """Lines such as `reading recordings: 320 of 1,250, 24 s left`, the first only after some seconds."""

    def __init__(self, console: Console, name: str, now: Callable[[], float] = time.monotonic) -> None:
        self._console, self._name, self._now = console, name, now
        self._started = now()
        self._next_line = self._started + FIRST_LINE_SECONDS

    def __call__(self, done: int, total: int) -> None:
        now = self._now()
        if now < self._next_line or not 0 < done < total:
            return
        self._next_line = now + LINE_SECONDS
        seconds_left = (now - self._started) * (total - done) / done
        self._console.print(f"{self._name}: {done:,} of {total:,}, {seconds_left:.0f} s left")
