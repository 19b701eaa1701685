"""Residuals: how much worse than the rest each utterance is predicted, and whether some of them form a group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KEPT_RESIDUALS = 3
"""Latest ones of each utterance, whose median counts: a single step that went wrong says nothing about its data."""
LEVEL_SHARE = 0.2
"""Share of the latest batch in the level that losses are compared with."""
LARGEST_RESIDUAL = 2.0
"""In the loss's logarithm: more of it says nothing more."""
MIN_UTTERANCES, MIN_GROUP = 20, 5
LISTED_SEPARATION = 3.0
"""Two halves of a normal distribution are 2.7 apart."""
VALLEY = 0.3
"""Share of the way between two groups' means, in its middle, that would be empty between separate groups."""


@dataclass(frozen=True)
class OddGroup:
    """The smaller of the two groups that the utterances' typical residuals fall into."""

    utterances: tuple[str, ...]
    share: float  # of all utterances
    excess: float  # of the group's mean over the others', in the loss's logarithm; negative: predicted better
    separation: float  # distance of the two means, in deviations within the groups
    overlap: float  # utterances half-way between the groups, as a share of the group's number

    @property
    def stands_apart(self) -> bool:
        """Whether it is a group of its own, and not a part of one distribution's tail."""
        return self.separation >= LISTED_SEPARATION

    @property
    def signals(self) -> dict[str, float | None]:
        values = {"share": self.share, "excess": self.excess, "separation": self.separation, "overlap": self.overlap}
        return {f"odd_group_{name}": value for name, value in values.items()}


class UtteranceResiduals:
    """The latest residuals of every utterance: its loss beside the running level of all."""

    def __init__(self, *, losses_are_logarithms: bool = False) -> None:
        self._are_logarithms = losses_are_logarithms
        self._level: float | None = None
        self._residuals: dict[str, list[float]] = {}

    def record(self, utterance_ids: Sequence[str], losses: Sequence[float]) -> None:
        """Add the losses of one batch; those that are not finite say nothing."""
        known = {
            id_: loss if self._are_logarithms else math.log(loss)
            for id_, loss in zip(utterance_ids, losses, strict=False)
            if math.isfinite(loss) and (self._are_logarithms or loss > 0)
        }
        if not known:
            return
        median = float(np.median(list(known.values())))
        self._level = median if self._level is None else self._level + LEVEL_SHARE * (median - self._level)
        for id_, loss in known.items():
            residual = max(-LARGEST_RESIDUAL, min(LARGEST_RESIDUAL, loss - self._level))
            self._residuals[id_] = [*self._residuals.get(id_, ()), residual][-KEPT_RESIDUALS:]

    def clear(self) -> None:
        """Begin anew: training has gone back, and what was recorded since is undone."""
        self._level, self._residuals = None, {}

    def forget(self, utterance_ids: Sequence[str]) -> None:
        """Leave out utterances that are not trained on any more."""
        for id_ in utterance_ids:
            self._residuals.pop(id_, None)

    def odd_group(self) -> OddGroup | None:
        """The smaller group; None until most utterances have been used a few times."""
        typical = {id_: float(np.median(r)) for id_, r in self._residuals.items() if len(r) == KEPT_RESIDUALS}
        if len(typical) < max(MIN_UTTERANCES, len(self._residuals) / 2):
            return None
        ids = sorted(typical, key=lambda id_: (typical[id_], id_))
        return split_in_two(ids, np.array([typical[id_] for id_ in ids]))

    def state_dict(self) -> dict[str, Any]:
        return {"level": self._level, "residuals": {id_: list(values) for id_, values in self._residuals.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._level = state["level"]
        self._residuals = {id_: list(values) for id_, values in state["residuals"].items()}


def split_in_two(ids: Sequence[str], values: np.ndarray) -> OddGroup | None:
    """Cut ascending values where the two parts deviate least within themselves (Otsu's threshold)."""
    n, sums, squares = len(values), np.cumsum(values), np.cumsum(values**2)
    sizes = np.arange(MIN_GROUP, n - MIN_GROUP + 1)
    if not len(sizes):
        return None
    low, high = sums[sizes - 1] / sizes, (sums[-1] - sums[sizes - 1]) / (n - sizes)
    within = squares[-1] - sizes * low**2 - (n - sizes) * high**2
    best = int(np.argmin(within))
    size, distance = int(sizes[best]), float(high[best] - low[best])
    deviation = math.sqrt(max(float(within[best]), 0.0) / n)
    if distance <= 0 or deviation == 0:
        return None
    middle, width = (low[best] + high[best]) / 2, VALLEY * distance / 2
    n_between = int(np.sum((values > middle - width) & (values < middle + width)))
    is_above = n - size <= size
    group = ids[size:] if is_above else ids[:size]
    return OddGroup(
        utterances=tuple(group),
        share=len(group) / n,
        excess=distance if is_above else -distance,
        separation=distance / deviation,
        overlap=n_between / len(group),
    )
