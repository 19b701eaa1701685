"""The live picture of a training on a terminal: where it is, the five signals that matter, the last intervention."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from monitoring.language.decisions_in_words import in_words
from monitoring.measures.signals import Signals, StepReport

WINDOW_STEPS = 50
LEAST_CHANGE = 0.02  # of the value, to speak of a trend
ARROWS = {1: "↑", 0: "→", -1: "↓"}
OF_STEPS = {"total_loss": "loss", "gradient_norm": "gradient"}
OF_EVALUATIONS = {
    "free_diagonality": "diagonality",
    "gate_accuracy": "gate",
    "length_accuracy": "length",
    "composite_tts_score": "score",
}
OF_SOME_MODELS = ("gate_accuracy", "length_accuracy")
"""Told once they are known."""


class Panel:
    """Takes in what happens; rich draws it whenever it is asked to."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._recent = {signal: deque[float](maxlen=2 * WINDOW_STEPS) for signal in OF_STEPS}
        self._evaluated = {signal: deque[float](maxlen=2) for signal in OF_EVALUATIONS}
        self._phase, self._last_act, self._step, self._total, self._left = "", "", 0, 1, ""

    def step(self, report: StepReport, *, total: int, left: str) -> None:
        self._step, self._total, self._left = report.step, total, left
        for signal, values in self._recent.items():
            if (value := getattr(report, signal)) is not None:
                values.append(value)

    def evaluation(self, signals: Signals) -> None:
        for signal, values in self._evaluated.items():
            if (value := signals.get(signal)) is not None:
                values.append(value)

    def decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        self._phase = fields["phase"].replace("_", " ")
        if kind in ("intervention", "follow_up"):
            self._last_act = f"step {step}: {in_words(kind, fields)}"

    def enter_phase(self, phase: str | None) -> None:
        self._phase = "" if phase is None else phase.replace("_", " ")

    def over(self) -> None:
        """No time is left to tell."""
        self._left = ""

    def __rich__(self) -> RenderableType:
        share = min(1.0, self._step / max(1, self._total))
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self._name, style="bold"),
            Text(self._phase, style="cyan"),
            f"step {self._step:,}/{self._total:,}",
            ProgressBar(total=1.0, completed=share, width=24),
            f"{share:.0%}",
            f"{self._left} left" if self._left else "",
        )
        lines: list[RenderableType] = [head, Text("   ".join(self._signals()), no_wrap=True, overflow="ellipsis")]
        if self._last_act:
            lines.append(Text(self._last_act, no_wrap=True, overflow="ellipsis", style="yellow"))
        return Group(*lines)

    def _signals(self) -> list[str]:
        """Name, value and where it is going."""
        shown = [(OF_STEPS[name], _halves(values)) for name, values in self._recent.items()]
        shown += [
            (OF_EVALUATIONS[name], _last_two(values))
            for name, values in self._evaluated.items()
            if values or name not in OF_SOME_MODELS
        ]
        return [f"{name} {_said(now)} {_arrow(before, now)}" for name, (before, now) in shown]


Change = tuple[float | None, float | None]
"""What was, and what is."""


def _halves(values: deque[float]) -> Change:
    """Medians of the older and the newer half."""
    if not values:
        return None, None
    middle = len(values) // 2
    older, newer = list(values)[:middle], list(values)[middle:]
    return statistics.median(older) if older else None, statistics.median(newer)


def _last_two(values: deque[float]) -> Change:
    return values[0] if len(values) == 2 else None, values[-1] if values else None


def _arrow(before: float | None, now: float | None) -> str:
    if before is None or now is None:
        return " "
    change = now - before
    is_change = abs(change) >= LEAST_CHANGE * max(abs(before), abs(now))
    return ARROWS[0 if not is_change else 1 if change > 0 else -1]


def _said(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
