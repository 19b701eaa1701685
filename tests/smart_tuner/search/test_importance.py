from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from monitoring.report.study_summary import SettingImportance
from smart_tuner.search.dimensions import Dimension
from smart_tuner.search.importance import describe_importances, measure_importances, rank
from tests.smart_tuner.search.small_study import make_study

SPACE = (
    Dimension("learning_rate", "float", 1e-5, 1e-2, log=True),
    Dimension("guide_sigma", "choice", choices=(0.2, 0.4, 0.6)),
    *(Dimension(f"p{i}", "float", 0, 1) for i in range(6)),
)
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "guide_sigma": CategoricalDistribution((0.2, 0.4, 0.6)),
    **{f"p{i}": FloatDistribution(0, 1) for i in range(6)},
}
Score = Callable[[Mapping[str, Any]], float]


def importances_in(folder: Path, score: Score, n_trials: int = 30, seed: int = 1) -> list[SettingImportance]:
    study, _ = make_study(folder)
    random = np.random.default_rng(seed)
    for _ in range(n_trials):
        params = {f"p{i}": float(random.random()) for i in range(6)}
        params |= {
            "learning_rate": float(10 ** random.uniform(-5, -2)),
            "guide_sigma": float(random.choice([0.2, 0.4, 0.6])),
        }
        value = score(params) + float(random.normal(0, 0.02))
        study.add_trial(
            optuna.create_trial(
                params=params, distributions=DISTRIBUTIONS, value=value, intermediate_values={3: value, 6: -value}
            )
        )
    return measure_importances(study, SPACE, 3)


def test_a_best_value_in_the_middle_of_the_range_is_detected(tmp_path: Path) -> None:
    first, *others = importances_in(tmp_path, lambda p: 0.8 - 0.2 * (math.log10(p["learning_rate"]) + 3.5) ** 2)
    assert first.name == "learning_rate" and first.is_significant and first.share > 0.7
    assert not any(other.is_significant for other in others)
    low, _, high = first.best_values.partition(" to ")
    assert 1e-5 < float(low) < 10**-3.5 < float(high) < 1e-2
    assert first.best_median > first.worst_median + 0.1


def test_the_best_choice_is_detected(tmp_path: Path) -> None:
    first, *_ = importances_in(tmp_path, lambda p: {0.2: 0.3, 0.4: 0.7, 0.6: 0.5}[p["guide_sigma"]])
    assert (first.name, first.is_significant, first.best_values, first.worst_values) == (
        "guide_sigma",
        True,
        "0.4",
        "0.2",
    )
    assert first.best_median == pytest.approx(0.7, abs=0.03)


def test_no_setting_is_significant_if_none_matters(tmp_path: Path) -> None:
    significant = [
        any(importance.is_significant for importance in importances_in(tmp_path / str(seed), lambda p: 0.5, seed=seed))
        for seed in range(12)
    ]
    assert sum(significant) <= 2  # one in twenty is expected by chance


def test_nothing_is_significant_in_few_trials(tmp_path: Path) -> None:
    assert importances_in(tmp_path, lambda p: p["p0"], n_trials=9) == []
    (line,) = describe_importances([], 9, 8)
    assert "9 trials are too few for 8 settings" in line


def test_scores_at_an_evaluation_that_all_trials_reached_count(tmp_path: Path) -> None:
    first, *_ = importances_in(tmp_path, lambda p: p["p1"])
    assert first.name == "p1" and first.best_median > first.worst_median  # later scores are the opposite


def test_the_description_contains_shares_and_medians(tmp_path: Path) -> None:
    importances = [
        SettingImportance("learning_rate", 0.54, True, "0.002 to 0.004", 0.712, "0.006 to 0.01", 0.42),
        SettingImportance("batch_size", 0.11, False),
    ]
    assert describe_importances(importances, 20, 2) == [
        "learning_rate mattered: alone it explains 54% of the differences. At 0.002 to 0.004 the median score was "
        "0.712, at 0.006 to 0.01 0.420.",
        "For the other 1 settings, 20 trials do not show whether they matter.",
    ]


def test_equal_scores_share_their_rank_and_are_not_significant(tmp_path: Path) -> None:
    assert rank(np.array([0.5, 0.0, 0.0, 0.2])).tolist() == [3.0, 0.5, 0.5, 2.0]
    study, _ = make_study(tmp_path)
    for i in range(12):
        params = {f"p{k}": 0.5 for k in range(6)} | {"learning_rate": 1e-5 * 1.5**i, "guide_sigma": 0.4}
        trial = optuna.create_trial(
            params=params, distributions=DISTRIBUTIONS, value=0.0, intermediate_values={3: 0.0, 6: 0.0}
        )
        study.add_trial(trial)
    assert measure_importances(study, SPACE, 3) == []
