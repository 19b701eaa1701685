"""Time of a training step beside the update itself: supervision, journal, signals, loading data.

`python -m benchmarks overhead` takes two minutes. It trains the demo for some steps with everything that runs in the
training process, and compares the time between updates with the time in them. Evaluations and checkpoints have
intervals of their own and are left out. Exits 1 when the requirement is missed.
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import train_enhanced
from benchmarks.reporting import Write, conclude
from training.run_state import RunState
from training.step.learner import Learner
from training.trainer import EnhancedTrainer

STEPS, WARM_UP = 240, 40
MAX_SHARE = 0.03


@dataclass
class StepTimer:
    """Seconds in updates and between them; evaluations and saves count as neither."""

    updates: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    left_out: float = 0.0  # seconds in evaluations and saves since the last update
    _update_end: float | None = None

    def time_update(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        if self._update_end is not None:
            self.gaps.append(started - self._update_end - self.left_out)
        result = function(*arguments, **options)
        self._update_end, self.left_out = time.perf_counter(), 0.0
        self.updates.append(self._update_end - started)
        return result

    def leave_out(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        started, before = time.perf_counter(), self.left_out
        result = function(*arguments, **options)
        self.left_out = before + time.perf_counter() - started  # a save within an evaluation counts once
        return result


def measure(timer: StepTimer) -> None:
    """Train with timed methods."""
    methods = [
        (Learner, "update", timer.time_update),
        (EnhancedTrainer, "evaluate", timer.leave_out),
        (RunState, "save", timer.leave_out),
    ]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for owner, name, measure_call in methods:
            stack.enter_context(patch.object(owner, name, wrapped(getattr(owner, name), measure_call)))
        options = f"--output {folder} --max_steps {STEPS} --watchdog off --companion off --quiet"
        train_enhanced.main(options.split())


def wrapped(method: Callable[..., Any], measure_call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        return measure_call(method, *arguments, **options)

    return call


def main(write: Write) -> int:
    timer = StepTimer()
    measure(timer)
    updates, gaps = timer.updates[WARM_UP + 1 :], timer.gaps[WARM_UP:]
    share = sum(gaps) / sum(updates)
    write(f"an update: {1e3 * statistics.median(updates):.1f} ms, between two updates: ")
    write(f"{1e3 * statistics.median(gaps):.2f} ms (median), {1e3 * max(gaps):.0f} ms at most\n")
    write(f"supervision, journal and data: {share:.2%} of a step (required: at most {MAX_SHARE:.0%})\n")
    return conclude(write, is_met=share <= MAX_SHARE)


if __name__ == "__main__":
    sys.exit(main(sys.stdout.write))
