"""Signal series in bounded memory."""

from __future__ import annotations

from monitoring.journal.series import MAX_POINTS, DownsampledSeries


def test_a_long_series_is_averaged_and_keeps_its_shape() -> None:
    series = DownsampledSeries()
    for step in range(1, 10 * MAX_POINTS + 1):
        series.add(step, float(step))
    points = series.points()
    assert len(points) <= MAX_POINTS + 1
    assert points[-1][0] == 10 * MAX_POINTS
    assert all(abs(value - step) <= 16 for step, value in points)
    series.drop_after(5 * MAX_POINTS)
    assert series.points()[-1][0] <= 5 * MAX_POINTS


def test_a_missing_value_is_a_gap() -> None:
    series = DownsampledSeries()
    series.add(1, 1.0)
    series.add(2, None)
    series.add(3, 3.0)
    assert series.points() == [(1, 1.0), (3, 3.0)]
