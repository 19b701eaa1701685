"""How far training is: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from monitoring.decisions_in_words import in_words
from monitoring.signals import Signals, StepReport

SHOWN = ("free_diagonality", "gate_accuracy", "stop_rate", "mel_distance", "val_mel_loss", "composite_tts_score")


class ProgressDisplay:
    """Shows steps as they pass, and counts the seconds of the run over all its sessions."""

    def __init__(
        self, console: Console, *, total_steps: int, every_seconds: float, most_steps: int | None = None
    ) -> None:
        self._console, self._planned, self._most, self._every = console, total_steps, most_steps, every_seconds
        self._total = total_steps
        self._started = self._shown = time.monotonic()
        self._seconds_before = 0.0
        self._first_step: int | None = None
        self._bar = self._start_bar() if console.is_terminal else None

    def _start_bar(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        bar = Progress(*columns, TimeRemainingColumn(), console=self._console)
        bar.add_task("starting", total=self._total)
        bar.start()
        return bar

    def seconds(self) -> float:
        """Time spent on the run so far, before a resume included."""
        return self._seconds_before + time.monotonic() - self._started

    def resume(self, seconds: float) -> None:
        """Count on from what an earlier session took."""
        self._seconds_before = seconds

    def begin_anew(self, step: int) -> None:
        """From here on the whole way lies ahead again."""
        self._total = min(step + self._planned, self._most or step + self._planned)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=self._total)

    def step(self, report: StepReport) -> None:
        now = time.monotonic()
        if self._first_step is None:
            self._first_step, self._started_stepping = report.step - 1, now
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=report.step, description=_in_short(report))
        elif now - self._shown >= self._every:
            self._shown = now
            self._console.print(
                f"step {report.step}/{self._total} · {_in_short(report)} · {report.frames_per_second:,.0f} frames/s · "
                f"{self._time_left(report.step, now)} left",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _time_left(self, step: int, now: float) -> str:
        assert self._first_step is not None
        done = step - self._first_step
        seconds = (now - self._started_stepping) / done * max(0, self._total - step)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"

    def evaluation(self, step: int, signals: Signals) -> None:
        shown = "   ".join(f"{name} {_number(signals.get(name))}" for name in SHOWN)
        self._console.print(f"evaluation at step {step}: {shown}", markup=False, highlight=False, soft_wrap=True)

    def decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        """What the supervisor found or did, in one line."""
        said = f"{kind.replace('_', ' ')} at step {step}: {in_words(kind, fields)}"
        self._console.print(said, markup=False, highlight=False, soft_wrap=True)
        if fields.get("action") == "restart" and "advice" not in fields:
            self.begin_anew(step)

    def order(self, step: int, order: Mapping[str, Any]) -> None:
        """What a person has asked for from afar."""
        reason = f" ({order['reason']})" if "reason" in order else ""
        said = f"{order['order']} at step {step}, asked for by {order['by']}: {order['result']}{reason}"
        self._console.print(said, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _in_short(report: StepReport) -> str:
    return f"epoch {report.epoch + 1} · loss {_number(report.total_loss)} · gradient {_number(report.gradient_norm)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
