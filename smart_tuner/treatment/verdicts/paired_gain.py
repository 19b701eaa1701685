"""Gain of one arm of a race over another, paired by held-out utterance, with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

N_DRAWS = 2000
ERROR_RATE = 0.05
MIN_UTTERANCES = 4
"""Fewer have no interval worth the name."""


@dataclass(frozen=True)
class PairedGain:
    """Mean fall of the logarithm of a distance, and its 95 % interval over utterances."""

    mean: float
    low: float
    high: float

    @property
    def is_better(self) -> bool:
        return self.low > 0

    @property
    def is_worse(self) -> bool:
        return self.high < 0


def measure_gain(
    control: Mapping[str, float], treated: Mapping[str, float], *, n_comparisons: int = 1
) -> PairedGain | None:
    """Compare the distances of utterances that both have; None if there are too few.

    `n_comparisons`: arms that are compared with the same control; the interval grows with their number.
    """
    shared = sorted(name for name in control.keys() & treated.keys() if control[name] > 0 and treated[name] > 0)
    if len(shared) < MIN_UTTERANCES:
        return None
    gains = np.log([control[name] for name in shared]) - np.log([treated[name] for name in shared])
    drawn = np.random.default_rng(0).choice(gains, (N_DRAWS, len(gains))).mean(axis=1)
    tail = ERROR_RATE / n_comparisons / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return PairedGain(float(gains.mean()), float(low), float(high))
