"""What does a training step cost beside the step: supervision, journal, signals, loading data?

`python -m benchmarks overhead` takes two minutes: it trains the demo for some steps, with everything on that the
training itself does, and compares in that one process the time between updates with the time in them. Evaluations and
checkpoints have their own schedule and are left out. Exits 1 when the bar is missed.
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import train_enhanced
from training.step.learner import Learner
from training.trainer import EnhancedTrainer

STEPS, WARM_UP = 240, 40
WANTED_SHARE = 0.03

Write = Callable[[str], object]


@dataclass
class Clock:
    """Seconds in updates, in evaluations and saves, and when each update ended."""

    updates: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    left_out: float = 0.0
    _ended: float | None = None

    def update(self, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        if self._ended is not None:
            self.between.append(began - self._ended - self.left_out)
        found = original(*arguments, **named)
        self._ended, self.left_out = time.perf_counter(), 0.0
        self.updates.append(self._ended - began)
        return found

    def leave_out(self, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        began, before = time.perf_counter(), self.left_out
        found = original(*arguments, **named)
        self.left_out = before + time.perf_counter() - began  # a save within an evaluation counts once
        return found


def timed(original: Callable[..., Any], way: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(*arguments: Any, **named: Any) -> Any:
        return way(original, *arguments, **named)

    return method


def measure(clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(Learner, "update", timed(Learner.update, clock.update)):
        for name in ("evaluate", "save"):
            original = getattr(EnhancedTrainer, name)
            patch.object(EnhancedTrainer, name, timed(original, clock.leave_out)).start()
        command = f"--output {Path(folder)} --max_steps {STEPS} --watchdog off --companion off --quiet"
        train_enhanced.main(command.split())
        patch.stopall()


def main(write: Write) -> int:
    clock = Clock()
    measure(clock)
    updates, between = clock.updates[WARM_UP + 1 :], clock.between[WARM_UP:]
    share = sum(between) / sum(updates)
    write(f"an update: {1e3 * statistics.median(updates):.1f} ms, what is between two: ")
    write(f"{1e3 * statistics.median(between):.2f} ms (median), {1e3 * max(between):.0f} ms at most\n")
    write(f"supervision, journal and data: {share:.2%} of a step (wanted: at most {WANTED_SHARE:.0%})\n")
    write(f"{'ok' if share <= WANTED_SHARE else 'MISSED'}\n")
    return 0 if share <= WANTED_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(sys.stdout.write))
