"""Points of every signal, all of the recent ones and fewer of the older ones: the input of the detectors."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from monitoring.measures.signals import Signals, finite

HISTORY_POINTS = 2_000
"""Per signal at most: small beside the weights in a checkpoint."""
POINTS_PER_AGE = 100
"""Older points are as far apart as a hundredth of the time since then."""


class SignalHistory:
    """Points (step, value) of every signal, oldest first; a value of None marks a gap.

    A full series is thinned: its newer half stays, older points are dropped where others lie near in comparison with
    their age. So a run of any length is covered from its first step on.
    """

    def __init__(self, points_per_signal: int = HISTORY_POINTS) -> None:
        self._points_per_signal = points_per_signal
        self._series: dict[str, list[tuple[int, float | None]]] = {}

    def record(self, step: int, signals: Mapping[str, float | None]) -> None:
        """Append one value for each signal given; a non-finite value becomes None."""
        for name, value in signals.items():
            series = self._series.setdefault(name, [])
            if series and step < series[-1][0]:
                raise ValueError(
                    f"{name}: expected a step from {series[-1][0]} on, got {step}: after a rollback load its history"
                )
            series.append((step, finite(value)))
            self._thin(series)

    def _thin(self, series: list[tuple[int, float | None]]) -> None:
        if len(series) <= self._points_per_signal:
            return
        n_older, (now, _) = len(series) - self._points_per_signal // 2, series[-1]
        kept = series[:1]
        for step, value in series[1:n_older]:
            if value is not None and step - kept[-1][0] >= (now - step) / POINTS_PER_AGE:
                kept.append((step, value))
        series[:n_older] = kept

    def latest(self) -> Signals:
        """Return the newest value of each signal."""
        return {name: series[-1][1] for name, series in self._series.items()}

    @property
    def names(self) -> list[str]:
        return list(self._series)

    def series(self, name: str) -> list[tuple[int, float | None]]:
        """Return all points of one signal; none for a signal never recorded."""
        return list(self._series.get(name, ()))

    def since(self, name: str, first_step: int) -> list[tuple[int, float]]:
        """Return the points of one signal from a step on, without gaps."""
        series = self._series.get(name, [])
        first = bisect_left(series, first_step, key=itemgetter(0))
        return [(step, value) for step, value in series[first:] if value is not None]

    def between(self, name: str, first_step: int, last_step: int) -> list[tuple[int, float]]:
        """Return the points of one signal from a step to another, both included, without gaps."""
        series = self._series.get(name, [])
        first, end = (bisect_left(series, step, key=itemgetter(0)) for step in (first_step, last_step + 1))
        return [(step, value) for step, value in series[first:end] if value is not None]

    def drop_after(self, step: int) -> None:
        """Drop all points after the step that training goes back to."""
        for series in self._series.values():
            while series and series[-1][0] > step:
                series.pop()
        self._series = {name: series for name, series in self._series.items() if series}

    def state_dict(self) -> dict[str, Any]:
        """Return dictionaries, lists and numbers only, which `torch.load(weights_only=True)` accepts."""
        return {name: [list(point) for point in series] for name, series in self._series.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._series = {name: [(int(step), finite(value)) for step, value in points] for name, points in state.items()}
