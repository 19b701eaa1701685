"""Follow-up of an intervention: its signal compared with the forecast made before, or with an untreated control run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from smart_tuner.detectors.series import change_spread, slope
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import RunView
from smart_tuner.treatment.interventions import Direction, Expectation

Verdict = Literal["helped", "no_effect", "harmful"]

LEVEL_POINTS: Mapping[str, int] = {
    **dict.fromkeys(("total_loss", "mel_loss", "nll_loss", "gradient_norm", "data_wait_share"), 10),
    **dict.fromkeys(("nonfinite_share", "outlier_share"), 10),
    "nonfinite_now": 1,
    "update_ratio": 3,
    **dict.fromkeys(("convolution_condition", "actnorm_scale"), 2),
    "latent_deviation": 10,
    "out_of_memory_share": 5,
}
"""Points whose median is a signal's level; one point of signals that are not listed, which evaluations measure."""
MIN_NOISE_SHARE = 0.05  # of signals between 0 and 1
MIN_NOISE_LOG = 0.05  # of all others, in their logarithm
TREND_POINTS = 4
DAMPING = 0.5  # the share of a trend that is expected to continue
IN_LOGARITHMS = ("loss", "norm", "ratio", "bytes", "condition", "scale", "deviation")
"""Name endings of the signals that are compared by factors, as differences of their logarithms."""


@dataclass(frozen=True)
class FollowUpResult:
    """Verdict on an intervention, with the values it rests on."""

    verdict: Verdict
    value: float | None = None
    gain: float | None = None  # over the forecast or the control, in the expected direction
    is_within_noise: bool = False  # a race against a control could still tell


def signal_level(view: RunView, signal: str) -> float | None:
    """Median of a signal's latest points."""
    if signal in DERIVED_SIGNALS:
        return DERIVED_SIGNALS[signal](view, LEVEL_POINTS[signal])
    values = view.values(signal)[-LEVEL_POINTS.get(signal, 1) :]
    return statistics.median(values) if values else None


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


def forecast_signal(
    view: RunView, signal: str, direction: Direction, *, by_step: int, target: float | None = None
) -> Expectation:
    """Expectation of an intervention: the value that the signal would reach without it, and its noise."""
    now = signal_level(view, signal)
    if now is None:
        return Expectation(signal, direction, by_step, None, _least_noise(signal), target)
    is_relative = _is_compared_in_logarithms(signal)
    takes_log = is_relative and not view.facts.is_logarithm(signal) and now > 0
    n_level = LEVEL_POINTS.get(signal, 1)
    points = view.points(signal)[-(4 * n_level if n_level > 1 else TREND_POINTS) :]
    series = [(step, math.log(value) if takes_log else value) for step, value in points if value > 0 or not takes_log]
    noise = max(_least_noise(signal), change_spread([value for _, value in series]) / math.sqrt(n_level))
    rise = (slope(series) or 0.0) * (by_step - view.step) * DAMPING
    if is_relative:
        rise = max(-1.0, min(1.0, rise))
        forecast = now * math.exp(rise) if takes_log else now + rise
    else:
        forecast = max(0.0, min(1.0, now + rise))
    return Expectation(signal, direction, by_step, forecast, noise, target)


def judge_by_forecast(expected: Expectation, value: float | None, facts: RunFacts) -> FollowUpResult:
    """Compare the signal with its forecast; without a value there is no effect."""
    if value is None:
        return FollowUpResult("no_effect")
    sign = 1 if expected.direction == "up" else -1
    is_reached = expected.target is not None and sign * (value - expected.target) >= 0
    if expected.forecast is None:
        verdict: Verdict = "helped" if is_reached or expected.target is None else "no_effect"
        return FollowUpResult(verdict, value)
    gain = gain_over(expected, value, expected.forecast, facts)
    if is_reached or gain > expected.noise:
        return FollowUpResult("helped", value, gain)
    if gain < -2 * expected.noise:
        return FollowUpResult("harmful", value, gain)
    return FollowUpResult("no_effect", value, gain, is_within_noise=abs(gain) <= expected.noise)


def judge_by_control(
    expected: Expectation, control: float | None, treated: float | None, facts: RunFacts
) -> FollowUpResult:
    """Compare a treated with an untreated run from the same checkpoint on the same data."""
    if control is None or treated is None:
        verdict: Verdict = "helped" if treated is not None else "no_effect"
        return FollowUpResult(verdict, treated)
    gain = gain_over(expected, treated, control, facts)
    noise = _least_noise(expected.signal)
    verdict = "helped" if gain > noise else "harmful" if gain < -noise else "no_effect"
    return FollowUpResult(verdict, treated, gain)


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


def _least_noise(signal: str) -> float:
    return MIN_NOISE_LOG if _is_compared_in_logarithms(signal) else MIN_NOISE_SHARE
