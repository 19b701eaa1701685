"""Interleaved timing of several functions, because the speed of a machine changes from hour to hour."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def time_interleaved(
    functions: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Call each function once in every round; return the seconds of each, by name."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(warm_up + rounds):
        for name, function in functions.items():
            seconds[name].append(time_call(function))
    return {name: values[warm_up:] for name, values in seconds.items()}


def time_call(function: Callable[[], object]) -> float:
    """Seconds until the function is done, on a GPU too."""
    started = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def median_speedup(seconds: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Median over the rounds of reference time / time."""
    return statistics.median(other / own for other, own in zip(seconds[reference], seconds[name], strict=True))
