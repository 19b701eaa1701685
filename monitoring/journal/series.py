"""Signal values over the steps of a whole run, in bounded memory."""

from __future__ import annotations

MAX_POINTS = 1_000

Point = tuple[int, float]
"""Step, value."""


class DownsampledSeries:
    """Values of one signal; each time MAX_POINTS is exceeded, the number of values averaged into one point doubles."""

    def __init__(self) -> None:
        self._means: list[Point] = []
        self._values_per_mean, self._not_averaged = 1, list[Point]()

    def add(self, step: int, value: float | None) -> None:
        if value is None:
            return
        self._not_averaged.append((step, value))
        if len(self._not_averaged) < self._values_per_mean:
            return
        self._means.append(_mean_point(self._not_averaged))
        self._not_averaged = []
        if len(self._means) > MAX_POINTS:
            self._means = [_mean_point(self._means[i : i + 2]) for i in range(0, len(self._means), 2)]
            self._values_per_mean *= 2

    def drop_after(self, step: int) -> None:
        self._means = [point for point in self._means if point[0] <= step]
        self._not_averaged = [point for point in self._not_averaged if point[0] <= step]

    @property
    def latest(self) -> float | None:
        newest = self._not_averaged or self._means
        return newest[-1][1] if newest else None

    def points(self) -> list[Point]:
        """Return the averaged points, and the newest value where it is not averaged yet."""
        return self._means + self._not_averaged[-1:]


def _mean_point(points: list[Point]) -> Point:
    """Average neighbouring values; the step is the last one's."""
    return points[-1][0], sum(value for _, value in points) / len(points)
