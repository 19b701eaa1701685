"""Importance of the settings in a study, or the statement that it is too small to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from monitoring.report.study_summary import SettingImportance
from smart_tuner.search.dimensions import Dimension
from smart_tuner.search.trials import finished_trials

MIN_TRIALS = 10
N_SHUFFLES, CONFIDENCE = 400, 0.95
"""A setting is significant if it explains more than the best setting does in this share of shuffled studies."""


def measure_importances(study: Study, space: Sequence[Dimension], evaluation: int) -> list[SettingImportance]:
    """Greatest first, by the scores at an evaluation that every trial reaches before it may be pruned."""
    trials = [trial for trial in finished_trials(study) if evaluation in trial.intermediate_values]
    trials = [trial for trial in trials if all(dimension.name in trial.params for dimension in space)]
    scores = np.array([trial.intermediate_values[evaluation] for trial in trials])
    if len(trials) < MIN_TRIALS or np.ptp(scores) == 0:
        return []
    bases = [_basis(dimension, trials) for dimension in space]
    shares = _explained_shares(bases, scores)
    random = np.random.default_rng(0)
    shuffled = [_explained_shares(bases, random.permutation(scores)).max() for _ in range(N_SHUFFLES)]
    limit = float(np.quantile(shuffled, CONFIDENCE))
    importances = [
        SettingImportance(d.name, float(share), bool(share > limit), *_best_and_worst(d, trials, scores))
        for d, share in zip(space, shares, strict=True)
    ]
    return sorted(importances, key=lambda importance: -importance.share)


def describe_importances(importances: Sequence[SettingImportance], n_trials: int, n_settings: int) -> list[str]:
    significant = [importance for importance in importances if importance.is_significant]
    if not significant:
        return [
            f"Which settings matter cannot be told: {n_trials} trials are too few for {n_settings} settings "
            "(or none of them matters here). More trials (--n_trials) or fewer settings (search.space) may tell."
        ]
    lines = [
        f"{i.name} mattered: alone it explains {i.share:.0%} of the differences. At {i.best_values} the median score "
        f"was {i.best_median:.3f}, at {i.worst_values} {i.worst_median:.3f}."
        for i in significant
    ]
    if len(significant) < n_settings:
        n_others = n_settings - len(significant)
        lines.append(f"For the other {n_others} settings, {n_trials} trials do not show whether they matter.")
    return lines


def _basis(dimension: Dimension, trials: Sequence[FrozenTrial]) -> np.ndarray:
    """Regressors of a trial's rank [trials, k]: a parabola, or an indicator of each choice."""
    values = [trial.params[dimension.name] for trial in trials]
    if dimension.kind == "choice":
        return np.array([[value == choice for choice in dimension.choices] for value in values], dtype=float)
    x = np.array([math.log(value) if dimension.log else float(value) for value in values])
    return np.stack([np.ones_like(x), x - x.mean(), (x - x.mean()) ** 2], axis=1)


def _explained_shares(bases: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """Share of the variance of ranks that each basis explains (R²)."""
    ranks = rank(scores)
    ranks -= ranks.mean()
    residuals = [ranks - basis @ np.linalg.lstsq(basis, ranks, rcond=None)[0] for basis in bases]
    return np.array([1.0 - float(residual @ residual) / float(ranks @ ranks) for residual in residuals])


def rank(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of their ranks."""
    return np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])


def _best_and_worst(
    dimension: Dimension, trials: Sequence[FrozenTrial], scores: np.ndarray
) -> tuple[str, float, str, float]:
    """Values with the highest and the lowest median score, and these scores: by choice, or by thirds of the values."""
    values = np.array([trial.params[dimension.name] for trial in trials])
    if dimension.kind == "choice":
        groups = {str(choice): scores[values == choice] for choice in dimension.choices}
    else:
        parts = np.array_split(values.argsort(kind="stable"), 3)
        groups = {f"{values[part].min():.3g} to {values[part].max():.3g}": scores[part] for part in parts}
    medians = {name: float(np.median(group)) for name, group in groups.items() if group.size}
    best, worst = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    return best, medians[best], worst, medians[worst]
