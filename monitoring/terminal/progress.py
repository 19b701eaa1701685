"""How far training is: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live

from monitoring.language.decisions_in_words import in_words
from monitoring.measures.signals import Signals, StepReport
from monitoring.terminal.panel import Panel

REDRAWN_EVERY_SECONDS = 1.0  # drawing takes milliseconds of Python, which a step would have to wait for
SHOWN = (
    *("free_diagonality", "gate_accuracy", "length_accuracy", "stop_rate", "mel_distance"),
    *("val_mel_loss", "val_nll_loss", "composite_tts_score"),
)


class ProgressDisplay:
    """Shows steps as they pass, and counts the seconds of the run over all its sessions."""

    def __init__(
        self,
        console: Console,
        *,
        name: str,
        last_step: int,
        course_steps: int,
        every_seconds: float,
        most_steps: int | None = None,
    ) -> None:
        self._console, self._every = console, every_seconds
        self._last, self._course, self._most = last_step, course_steps, most_steps
        self._started = self._shown = time.monotonic()
        self._seconds_before = 0.0
        self._first_step: int | None = None
        self._started_stepping = self._started
        self._paused_at: float | None = None
        self._panel, self._live = Panel(name), None
        if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
            self._live = Live(self._panel, console=console, auto_refresh=False)
            self._live.start()

    def seconds(self) -> float:
        """Time spent on the run so far, before a resume included."""
        return self._seconds_before + time.monotonic() - self._started

    def resume(self, seconds: float) -> None:
        """Count on from what an earlier session took."""
        self._seconds_before = seconds

    def _begin_anew(self, step: int) -> None:
        """From here on the whole way lies ahead again."""
        self._last = min(step + self._course, self._most or step + self._course)

    def step(self, report: StepReport) -> None:
        now = time.monotonic()
        if self._first_step is None or report.step <= self._first_step:  # training went back
            self._first_step, self._started_stepping = report.step - 1, now
        left = self._time_left(report.step, now)
        self._panel.step(report, total=self._last, left=left)
        if now - self._shown < (self._every if self._live is None else REDRAWN_EVERY_SECONDS):
            return
        self._shown = now
        if self._live is not None:
            self._live.refresh()
        else:
            speed = f"{report.frames_per_second:,.0f} frames/s"
            self._print(f"step {report.step}/{self._last} · {_in_short(report)} · {speed} · {left} left")

    def _print(self, line: str) -> None:
        """Above the panel, if there is one."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def enter_phase(self, phase: str | None) -> None:
        self._panel.enter_phase(phase)

    def _time_left(self, step: int, now: float) -> str:
        assert self._first_step is not None
        done = step - self._first_step
        seconds = (now - self._started_stepping) / done * max(0, self._last - step)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"

    def evaluation(self, step: int, signals: Signals) -> None:
        shown = "   ".join(f"{name} {_number(signals[name])}" for name in SHOWN if name in signals)
        self._panel.evaluation(signals)
        self._print(f"evaluation at step {step}: {shown}")

    def decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        """What the supervisor found or did, in one line."""
        self._panel.decision(kind, step, fields)
        self._print(f"{kind.replace('_', ' ')} at step {step}: {in_words(kind, fields)}")
        if fields.get("action") == "restart" and "advice" not in fields:
            self._begin_anew(step)

    def order(self, step: int, order: Mapping[str, Any]) -> None:
        """What a person has asked for from afar; a pause does not belong to the pace."""
        if order["result"] == "done" and order["order"] == "pause":
            self._paused_at = time.monotonic()
        elif order["result"] == "done" and order["order"] == "resume" and self._paused_at is not None:
            self._started_stepping += time.monotonic() - self._paused_at
        reason = f" ({order['reason']})" if "reason" in order else ""
        self._print(f"{order['order']} at step {step}, asked for by {order['by']}: {order['result']}{reason}")

    def note(self, text: str) -> None:
        self._print(f"note: {text}")

    def close(self) -> None:
        """The panel stays as it is, and what follows is written below it."""
        if self._live is not None:
            self._panel.over()
            self._live.stop()
            self._live = None


def _in_short(report: StepReport) -> str:
    return f"epoch {report.epoch + 1} · loss {_number(report.total_loss)} · gradient {_number(report.gradient_norm)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
