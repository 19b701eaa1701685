"""Levels of signals, and forecasts of the values that they would reach without an intervention."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from smart_tuner.detectors.series import change_spread, slope
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import Points, RunView
from smart_tuner.treatment.interventions import Direction, Expectation

LEVEL_POINTS: Mapping[str, int] = {
    **dict.fromkeys(("total_loss", "mel_loss", "nll_loss", "gradient_norm", "data_wait_share"), 10),
    **dict.fromkeys(("nonfinite_share", "outlier_share"), 10),
    "nonfinite_now": 1,
    "update_ratio": 3,
    **dict.fromkeys(("convolution_condition", "actnorm_scale"), 2),
    "latent_deviation": 10,
    "out_of_memory_share": 5,
}
"""Points whose median is a level, in a run whose stride is one step; of signals of evaluations, the latest point."""
MIN_NOISE_SHARE = 0.05  # of signals between 0 and 1
MIN_NOISE_LOG = 0.05  # of all others, in their logarithm
TREND_POINTS = 4
DAMPING = 0.5  # the share of a trend that is expected to continue
IN_LOGARITHMS = ("loss", "norm", "ratio", "bytes", "condition", "scale", "deviation")
"""Name endings of the signals that are compared by factors, as differences of their logarithms."""


def signal_level(view: RunView, signal: str) -> float | None:
    """Median of a signal's latest points."""
    if signal in DERIVED_SIGNALS:
        return DERIVED_SIGNALS[signal](view, LEVEL_POINTS[signal])
    values = view.values(signal)[-level_points(signal, view.facts) :]
    return statistics.median(values) if values else None


def level_points(signal: str, facts: RunFacts) -> int:
    """Number of points whose median is a signal's level: of steps, so many strides."""
    return LEVEL_POINTS[signal] * facts.stride_steps if signal in LEVEL_POINTS else 1


def is_measured_at_evaluations(signal: str) -> bool:
    return signal not in LEVEL_POINTS


def _nonfinite_share(view: RunView, n_steps: int) -> float | None:
    steps = view.values("nonfinite_steps", n_steps)
    return 1 - len(view.values("total_loss", n_steps)) / len(steps) if steps else None


def _outlier_share(view: RunView, n_steps: int) -> float | None:
    counts = view.values("outlier_utterances", n_steps)
    return sum(count > 0 for count in counts) / len(counts) if counts else None


def _out_of_memory_share(view: RunView, n_steps: int) -> float | None:
    counts = view.values("out_of_memory_steps", n_steps + 1)
    return (counts[-1] - counts[0]) / len(counts) if counts else None


DERIVED_SIGNALS: Mapping[str, Callable[[RunView, int], float | None]] = {
    "nonfinite_share": _nonfinite_share,
    "nonfinite_now": _nonfinite_share,
    "outlier_share": _outlier_share,
    "out_of_memory_share": _out_of_memory_share,
}
"""Shares of the latest steps in which something happened, computed from other signals."""


@dataclass(frozen=True)
class Forecast:
    """Value that a signal is expected to have at a later step, and its noise."""

    value: float
    noise: float


def forecast_signal(
    view: RunView, signal: str, direction: Direction, *, by_step: int, target: float | None = None
) -> Expectation:
    """Expectation of an intervention: the value that the signal would reach without it, and its noise."""
    if signal in DERIVED_SIGNALS:
        now = signal_level(view, signal)
        forecast = None if now is None else Forecast(now, MIN_NOISE_SHARE)
    else:
        forecast = forecast_points(view.points(signal), signal, view.facts, by_step=by_step)
    if forecast is None:
        return Expectation(signal, direction, by_step, None, least_noise(signal), target)
    return Expectation(signal, direction, by_step, forecast.value, forecast.noise, target)


def forecast_points(points: Points, signal: str, facts: RunFacts, *, by_step: int) -> Forecast | None:
    """Continue the line through a signal's latest points, damped, to a later step."""
    if not points:
        return None
    n_level = level_points(signal, facts)
    takes_log = _is_compared_in_logarithms(signal) and not facts.is_logarithm(signal)
    latest = points[-(4 * n_level if n_level > 1 else TREND_POINTS) :]
    series = [(step, math.log(value) if takes_log else value) for step, value in latest if value > 0 or not takes_log]
    if not series:
        return Forecast(points[-1][1], least_noise(signal))
    trend, now = slope(series) or 0.0, points[-1][0]
    if n_level > 1:
        level = statistics.median(value for _, value in series[-n_level:])
    else:  # the latest of few noisy points is often the reason to intervene
        level = statistics.median(value + trend * (now - step) for step, value in series)
    noise = max(least_noise(signal), change_spread([value for _, value in series]) / math.sqrt(n_level))
    rise = trend * (by_step - now) * DAMPING
    if not _is_compared_in_logarithms(signal):
        return Forecast(max(0.0, min(1.0, level + rise)), noise)
    value = level + max(-1.0, min(1.0, rise))
    return Forecast(math.exp(value) if takes_log else value, noise)


def gain_over(expected: Expectation, value: float, reference: float, facts: RunFacts) -> float:
    """Improvement of a value over a reference in the expected direction, as a log ratio or a difference."""
    sign, signal = 1 if expected.direction == "up" else -1, expected.signal
    takes_log = _is_compared_in_logarithms(signal) and not facts.is_logarithm(signal)
    if takes_log and value > 0 and reference > 0:
        return sign * math.log(value / reference)
    return sign * (value - reference)


def _is_compared_in_logarithms(signal: str) -> bool:
    """Whether differences of the signal's logarithm count; some signals are logarithms themselves."""
    return signal.endswith(IN_LOGARITHMS)


def least_noise(signal: str) -> float:
    return MIN_NOISE_LOG if _is_compared_in_logarithms(signal) else MIN_NOISE_SHARE
