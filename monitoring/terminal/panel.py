"""Panel of a running training for a terminal: progress, five signals with trends, the last intervention."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from monitoring.language.english import ENGLISH
from monitoring.measures.signals import Signals
from monitoring.report.decision_text import decision_line
from reports import StepReport

WINDOW_STEPS = 50
MIN_RELATIVE_CHANGE = 0.02  # smaller changes are shown as no trend
ARROWS = {1: "↑", 0: "→", -1: "↓"}
STEP_SIGNALS = ("total_loss", "gradient_norm")
SPEECH_SIGNALS = ("free_diagonality", "gate_accuracy", "length_accuracy", "composite_tts_score")
SHOWN_IF_MEASURED = ("gate_accuracy", "length_accuracy")
"""A model measures one of them: gate accuracy where it has a gate, length accuracy where it has none."""

Change = tuple[float | None, float | None]
"""Earlier value, present value."""


class ProgressPanel:
    """Collector of the values to show; rich calls `__rich__` when it draws."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._step_values = {signal: deque[float](maxlen=2 * WINDOW_STEPS) for signal in STEP_SIGNALS}
        self._speech_values = {signal: deque[float](maxlen=2) for signal in SPEECH_SIGNALS}
        self._phase, self._last_intervention, self._step, self._last_step, self._time_left = "", "", 0, 1, ""

    def on_step(self, report: StepReport, *, last_step: int, time_left: str) -> None:
        self._step, self._last_step, self._time_left = report.step, last_step, f"{time_left} left"
        for signal, values in self._step_values.items():
            if (value := getattr(report, signal)) is not None:
                values.append(value)

    def on_evaluation_start(self) -> None:
        self._time_left = "evaluating"

    def on_evaluation(self, signals: Signals) -> None:
        for signal, values in self._speech_values.items():
            if (value := signals.get(signal)) is not None:
                values.append(value)

    def on_decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        self.set_phase(fields["phase"])
        if kind in ("intervention", "follow_up"):
            self._last_intervention = f"step {step}: {decision_line(kind, fields, ENGLISH)}"

    def set_phase(self, phase: str | None) -> None:
        self._phase = "" if phase is None else ENGLISH.name(phase)

    def clear_time_left(self) -> None:
        self._time_left = ""

    def __rich__(self) -> RenderableType:
        share = min(1.0, self._step / max(1, self._last_step))
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self._name, style="bold"),
            Text(self._phase, style="cyan"),
            f"step {self._step:,}/{self._last_step:,}",
            ProgressBar(total=1.0, completed=share, width=24),
            f"{share:.0%}",
            self._time_left,
        )
        lines: list[RenderableType] = [head, Columns(self._signals(), padding=(0, 3))]
        if self._last_intervention:
            lines.append(Text(self._last_intervention, no_wrap=True, overflow="ellipsis", style="yellow"))
        return Group(*lines)

    def _signals(self) -> list[str]:
        """Name, value and trend of each signal."""
        changes = {name: _change_of_medians(values) for name, values in self._step_values.items()}
        changes |= {
            name: _change_of_last_two(values)
            for name, values in self._speech_values.items()
            if values or name not in SHOWN_IF_MEASURED
        }
        return [f"{ENGLISH.format_values({name: new})} {_arrow(old, new)}" for name, (old, new) in changes.items()]


def _change_of_medians(values: deque[float]) -> Change:
    """Medians of the older and the newer half."""
    if not values:
        return None, None
    middle = len(values) // 2
    older, newer = list(values)[:middle], list(values)[middle:]
    return statistics.median(older) if older else None, statistics.median(newer)


def _change_of_last_two(values: deque[float]) -> Change:
    return values[0] if len(values) == 2 else None, values[-1] if values else None


def _arrow(before: float | None, now: float | None) -> str:
    if before is None or now is None:
        return " "
    change = now - before
    is_trend = abs(change) >= MIN_RELATIVE_CHANGE * max(abs(before), abs(now))
    return ARROWS[0 if not is_trend else 1 if change > 0 else -1]
