"""Progress of a training: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live

from monitoring.language.english import ENGLISH
from monitoring.measures.signals import Signals
from monitoring.report.decision_text import decision_line
from monitoring.terminal.panel import ProgressPanel
from reports import StepReport

REDRAW_SECONDS = 1.0  # drawing takes milliseconds of Python, for which a training step waits
EVALUATION_SIGNALS = (
    *("free_diagonality", "gate_accuracy", "length_accuracy", "stop_rate", "plain_stop_rate", "mel_distance"),
    *("val_mel_loss", "val_nll_loss", "composite_tts_score"),
)


class ProgressDisplay:
    """Display of a training's reports; it also counts the seconds of the run over all its sessions."""

    def __init__(
        self,
        console: Console,
        *,
        name: str,
        last_step: int,
        plan_steps: int,
        line_seconds: float,
        max_steps: int | None = None,
        seconds_left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """`plan_steps`: trained again after a restart, up to `max_steps`; `line_seconds`: time between plain lines.

        `seconds_left`: time until a limit ends the training.
        """
        self._console, self._line_seconds, self._seconds_left = console, line_seconds, seconds_left
        self._last_step, self._plan_steps, self._max_steps = last_step, plan_steps, max_steps
        self._session_start = self._last_shown = time.monotonic()
        self._seconds_before_session = 0.0
        self._pace_start_step: int | None = None  # the time left is estimated from the pace since then
        self._pace_start = self._session_start
        self._pause_start: float | None = None
        self._panel, self._live = ProgressPanel(name), None
        if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
            self._live = Live(self._panel, console=console, auto_refresh=False)
            self._live.start()

    def elapsed_seconds(self) -> float:
        """Seconds spent on the run so far, earlier sessions included."""
        return self._seconds_before_session + time.monotonic() - self._session_start

    def add_earlier_seconds(self, seconds: float) -> None:
        """Count the time of the earlier sessions too."""
        self._seconds_before_session = seconds

    def on_step(self, report: StepReport) -> None:
        now = time.monotonic()
        if self._pace_start_step is None or report.step <= self._pace_start_step:  # training went back
            self._pace_start_step, self._pace_start = report.step - 1, now
        seconds_per_step = (now - self._pace_start) / (report.step - self._pace_start_step)
        n_steps_left = max(0, self._last_step - report.step)
        seconds = min(seconds_per_step * n_steps_left, self._seconds_left())
        time_left = _format_minutes(seconds) if seconds_per_step or not n_steps_left else "?"
        self._panel.on_step(report, last_step=self._last_step, time_left=time_left)
        if now - self._last_shown < (self._line_seconds if self._live is None else REDRAW_SECONDS):
            return
        self._last_shown = now
        if self._live is not None:
            self._live.refresh()
        else:
            signals = {"total_loss": report.total_loss, "gradient_norm": report.gradient_norm}
            place = f"step {report.step}/{self._last_step} · epoch {report.epoch + 1}"
            speed = f"{report.frames_per_second:,.0f} frames/s"
            self._print(f"{place} · {ENGLISH.format_values(signals)} · {speed} · {time_left} left")

    def on_evaluation_start(self) -> None:
        """Say why the steps stand still for a while."""
        self._panel.on_evaluation_start()
        if self._live is not None:
            self._live.refresh()

    def on_evaluation(self, step: int, signals: Signals) -> None:
        self._panel.on_evaluation(signals)
        shown = {name: signals[name] for name in EVALUATION_SIGNALS if name in signals}
        self._print(f"evaluation at step {step}: {ENGLISH.format_values(shown)}")

    def on_decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        """Show a diagnosis, intervention or other decision of the supervisor."""
        self._panel.on_decision(kind, step, fields)
        self._print(f"{kind.replace('_', ' ')} at step {step}: {decision_line(kind, fields, ENGLISH)}")
        if fields.get("action") == "restart" and "advice" not in fields:
            planned = step + self._plan_steps
            self._last_step = min(planned, self._max_steps or planned)

    def on_request(self, step: int, request: Mapping[str, Any]) -> None:
        """Show a person's request and its result; the time of a pause does not count for the time left."""
        if request["result"] == "done" and request["order"] == "pause":
            self._pause_start = time.monotonic()
        elif request["result"] == "done" and request["order"] == "resume" and self._pause_start is not None:
            self._pace_start += time.monotonic() - self._pause_start
        reason = f" ({request['reason']})" if "reason" in request else ""
        self._print(f"{request['order']} at step {step}, asked for by {request['by']}: {request['result']}{reason}")

    def on_note(self, text: str) -> None:
        self._print(f"note: {text}")

    def set_last_step(self, step: int) -> None:
        self._last_step = step

    def set_phase(self, phase: str | None) -> None:
        self._panel.set_phase(phase)

    def close(self) -> None:
        """Leave the panel as it is; later output appears below it."""
        if self._live is not None:
            self._panel.clear_time_left()
            self._live.stop()
            self._live = None

    def _print(self, line: str) -> None:
        """Print above the panel, if there is one."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _format_minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
