"""Which settings mattered in a study and by how much, or that it is too small to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from smart_tuner.search.space import Dimension
from smart_tuner.search.trials import done

FEWEST_TRIALS = 10
SHUFFLES, SURE = 400, 0.95
"""A setting counts when it explains more than the best of all does in this share of shuffled studies."""


@dataclass(frozen=True)
class Importance:
    """`share` of the differences in rank that a setting explains by itself; medians of scores where it lay."""

    name: str
    share: float
    is_sure: bool
    best_where: str = ""
    best_median: float = 0.0
    worst_where: str = ""
    worst_median: float = 0.0


def importances(study: Study, space: Sequence[Dimension], evaluation: int) -> list[Importance]:
    """The greatest first; by the scores at an evaluation that trials reach before they may be ended early."""
    scored = [trial for trial in done(study) if evaluation in trial.intermediate_values]
    scored = [trial for trial in scored if all(dimension.name in trial.params for dimension in space)]
    scores = np.array([trial.intermediate_values[evaluation] for trial in scored])
    if len(scored) < FEWEST_TRIALS or np.ptp(scores) == 0:
        return []
    bases = [_basis(dimension, scored) for dimension in space]
    shares = _shares(bases, scores)
    random = np.random.default_rng(0)
    shuffled = [_shares(bases, random.permutation(scores)).max() for _ in range(SHUFFLES)]
    limit = float(np.quantile(shuffled, SURE))
    found = [
        Importance(d.name, float(share), bool(share > limit), *_contrast(d, scored, scores))
        for d, share in zip(space, shares, strict=True)
    ]
    return sorted(found, key=lambda importance: -importance.share)


def in_words(found: Sequence[Importance], n_trials: int, n_settings: int) -> list[str]:
    sure = [importance for importance in found if importance.is_sure]
    if not sure:
        return [
            f"Which settings matter cannot be told: {n_trials} trials are too few for {n_settings} settings "
            "(or none of them matters here). More trials (--n_trials) or fewer settings (search.space) may tell."
        ]
    lines = [
        f"{i.name} mattered: alone it explains {i.share:.0%} of the differences. At {i.best_where} the median score "
        f"was {i.best_median:.3f}, at {i.worst_where} {i.worst_median:.3f}."
        for i in sure
    ]
    if len(sure) < n_settings:
        lines.append(f"Of the other {n_settings - len(sure)} settings {n_trials} trials do not tell.")
    return lines


def _basis(dimension: Dimension, trials: Sequence[FrozenTrial]) -> np.ndarray:
    """What a rank is explained by [trials, k]: a parabola, or a level for each choice."""
    values = [trial.params[dimension.name] for trial in trials]
    if dimension.kind == "choice":
        return np.array([[value == choice for choice in dimension.choices] for value in values], dtype=float)
    x = np.array([math.log(value) if dimension.log else float(value) for value in values])
    return np.stack([np.ones_like(x), x - x.mean(), (x - x.mean()) ** 2], axis=1)


def _shares(bases: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
    ranks = ranks_of(scores)
    ranks -= ranks.mean()
    rests = [ranks - basis @ np.linalg.lstsq(basis, ranks, rcond=None)[0] for basis in bases]
    return np.array([1.0 - float(rest @ rest) / float(ranks @ ranks) for rest in rests])


def ranks_of(values: np.ndarray) -> np.ndarray:
    """From 0 on; equal values share the mean of their ranks."""
    return np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])


def _contrast(dimension: Dimension, trials: Sequence[FrozenTrial], scores: np.ndarray) -> tuple[str, float, str, float]:
    """Where it was best and worst, and the median scores there: by choice, or by thirds of the values tried."""
    values = np.array([trial.params[dimension.name] for trial in trials])
    if dimension.kind == "choice":
        groups = {str(choice): scores[values == choice] for choice in dimension.choices}
    else:
        parts = np.array_split(values.argsort(kind="stable"), 3)
        groups = {f"{values[part].min():.3g} to {values[part].max():.3g}": scores[part] for part in parts}
    medians = {where: float(np.median(group)) for where, group in groups.items() if group.size}
    best, worst = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    return best, medians[best], worst, medians[worst]
