"""Did it help? A signal beside its own forecast from before, or a treated run beside an untreated one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from smart_tuner.detectors.series import roughness, slope
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
"""How many last points of a signal make its level; one for those measured at evaluations."""
LEAST_NOISE_SHARE = 0.05  # of signals between 0 and 1
LEAST_NOISE_LOG = 0.05  # of all others, in their logarithm
TREND_POINTS = 4
DAMPING = 0.5  # no trend goes on as it was
IN_LOGARITHMS = ("loss", "norm", "ratio", "bytes", "condition", "scale", "deviation")


@dataclass(frozen=True)
class FollowUpResult:
    """A verdict with its numbers."""

    verdict: Verdict
    value: float | None
    gain: float | None  # beyond the forecast, in the wanted direction
    close: bool  # within the noise: signals alone cannot tell


def level(view: RunView, signal: str) -> float | None:
    """Where a signal stands: the median of its last few points."""
    if signal in SHARES:
        return SHARES[signal](view, LEVEL_POINTS[signal])
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


SHARES: Mapping[str, Callable[[RunView, int], float | None]] = {
    "nonfinite_share": _nonfinite_share,
    "nonfinite_now": _nonfinite_share,
    "outlier_share": _outlier_share,
    "out_of_memory_share": _out_of_memory_share,
}
"""Signals made of others: the share of the last steps in which something happened."""


def expect(
    view: RunView, signal: str, direction: Direction, *, by_step: int, target: float | None = None
) -> Expectation:
    """What the signal would do by itself until then."""
    now = level(view, signal)
    if now is None:
        return Expectation(signal, direction, by_step, None, _least_noise(signal), target)
    logarithmic = _is_logarithmic(signal) and not view.facts.is_logarithm(signal) and now > 0
    kept = LEVEL_POINTS.get(signal, 1)
    points = view.points(signal)[-(4 * kept if kept > 1 else TREND_POINTS) :]
    series = [
        (step, math.log(value) if logarithmic else value) for step, value in points if value > 0 or not logarithmic
    ]
    noise = max(_least_noise(signal), roughness([value for _, value in series]) / math.sqrt(kept))
    rise = (slope(series) or 0.0) * (by_step - view.step) * DAMPING
    if _is_logarithmic(signal):
        rise = max(-1.0, min(1.0, rise))
        forecast = now * math.exp(rise) if logarithmic else now + rise
    else:
        forecast = max(0.0, min(1.0, now + rise))
    return Expectation(signal, direction, by_step, forecast, noise, target)


def judge(expected: Expectation, value: float | None, facts: RunFacts) -> FollowUpResult:
    """The cheap check; a signal that has vanished is no help."""
    if value is None:
        return FollowUpResult("no_effect", None, None, close=False)
    sign = 1 if expected.direction == "up" else -1
    reached = expected.target is not None and sign * (value - expected.target) >= 0
    if expected.forecast is None:
        return FollowUpResult("helped" if reached or expected.target is None else "no_effect", value, None, close=False)
    gain = gain_over(expected, value, expected.forecast, facts)
    if reached or gain > expected.noise:
        return FollowUpResult("helped", value, gain, close=False)
    if gain < -2 * expected.noise:
        return FollowUpResult("harmful", value, gain, close=False)
    return FollowUpResult("no_effect", value, gain, close=abs(gain) <= expected.noise)


def compare(expected: Expectation, control: float | None, treated: float | None, facts: RunFacts) -> FollowUpResult:
    """The strong check: both arms came from the same checkpoint and saw the same data."""
    if control is None or treated is None:
        return FollowUpResult("helped" if treated is not None else "no_effect", treated, None, close=False)
    gain = gain_over(expected, treated, control, facts)
    noise = _least_noise(expected.signal)
    verdict: Verdict = "helped" if gain > noise else "harmful" if gain < -noise else "no_effect"
    return FollowUpResult(verdict, treated, gain, close=False)


def gain_over(expected: Expectation, value: float, other: float, facts: RunFacts) -> float:
    """How much better one value is than the other, in the wanted direction."""
    sign, signal = 1 if expected.direction == "up" else -1, expected.signal
    if _is_logarithmic(signal) and not facts.is_logarithm(signal) and value > 0 and other > 0:
        return sign * math.log(value / other)
    return sign * (value - other)


def _is_logarithmic(signal: str) -> bool:
    """Whether it is differences of its logarithm that count; of some signals that is what they are themselves."""
    return signal.endswith(IN_LOGARITHMS)


def _least_noise(signal: str) -> float:
    return LEAST_NOISE_LOG if _is_logarithmic(signal) else LEAST_NOISE_SHARE
