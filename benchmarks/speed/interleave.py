"""Times of several works taken in turns, since an hour of a machine is not like another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def in_turns(works: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds that each took in each round."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(warm_up + rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return {name: each[warm_up:] for name, each in taken.items()}


def seconds(work: Callable[[], object]) -> float:
    """Until it is done, on a GPU too."""
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def times_as_fast(taken: Mapping[str, list[float]], name: str, than: str) -> float:
    """The median over the rounds."""
    return statistics.median(theirs / own for theirs, own in zip(taken[than], taken[name], strict=True))
