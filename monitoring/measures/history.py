"""The last points of every signal, oldest first: what detectors look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from monitoring.measures.signals import Signals, finite

HISTORY_POINTS = 2_000
"""Points kept of each signal: two usual intervals between evaluations, and little beside a checkpoint's weights."""


class SignalHistory:
    """The last points (step, value) of every signal; a None stays in the series as a gap and out of the statistics."""

    def __init__(self, points_per_signal: int = HISTORY_POINTS) -> None:
        self._points_per_signal = points_per_signal
        self._series: dict[str, deque[tuple[int, float | None]]] = {}

    def record(self, step: int, signals: Mapping[str, float | None]) -> None:
        """Append one value a signal; a non-finite one is recorded as None."""
        for name, value in signals.items():
            series = self._series.setdefault(name, deque(maxlen=self._points_per_signal))
            if series and step < series[-1][0]:
                raise ValueError(
                    f"{name}: expected a step from {series[-1][0]} on, got {step}: after a rollback load its history"
                )
            series.append((step, finite(value)))

    def latest(self) -> Signals:
        """Return the newest value of each signal, by name."""
        return {name: series[-1][1] for name, series in self._series.items()}

    @property
    def names(self) -> list[str]:
        """Of all signals recorded so far."""
        return list(self._series)

    def series(self, name: str) -> list[tuple[int, float | None]]:
        """Return the kept points of one signal, oldest first; none for a signal never recorded."""
        return list(self._series.get(name, ()))

    def since(self, name: str, first_step: int) -> list[tuple[int, float]]:
        """Return the known values of one signal from a step on, oldest first."""
        series = self._series.get(name, ())
        window = takewhile(lambda point: point[0] >= first_step, reversed(series))
        return [(step, value) for step, value in window if value is not None][::-1]

    def forget_after(self, step: int) -> None:
        """Drop all points after a step: training went back to it."""
        for series in self._series.values():
            while series and series[-1][0] > step:
                series.pop()
        self._series = {name: series for name, series in self._series.items() if series}

    def state_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers, as `torch.load(weights_only=True)` takes them."""
        return {name: [list(point) for point in series] for name, series in self._series.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace everything recorded by what `state_dict` returned."""
        self._series = {
            name: deque(((int(step), finite(value)) for step, value in points), maxlen=self._points_per_signal)
            for name, points in state.items()
        }
