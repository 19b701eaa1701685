from __future__ import annotations

import numpy as np
import pytest

from training.checkpoints.best_score import LARGEST_TOLERANCE, is_as_good, steady_score


@pytest.mark.parametrize(
    ("scores", "steady"),
    [([0.5], 0.5), ([0.5, 0.8], 0.8), ([0.5, 0.6, 0.9], 0.6), ([0.7, 0.8, 0.3], 0.3), ([0.1, 0.7, 0.8, 0.75], 0.75)],
)
def test_a_high_score_counts_once_it_is_confirmed_and_a_low_one_at_once(scores: list[float], steady: float) -> None:
    assert steady_score(scores) == steady


def test_few_scores_must_exceed_the_best() -> None:
    assert is_as_good([0.5, 0.6], 0.5) and not is_as_good([0.6, 0.6], 0.6)


def test_of_equally_good_checkpoints_the_newest_is_chosen() -> None:
    scores = list(0.8 + 0.01 * np.random.default_rng(0).standard_normal(200))
    best, chosen = 0.0, 0
    for i in range(len(scores)):
        recent = scores[max(0, i - 11) : i + 1]
        chosen = i if is_as_good(recent, best) else chosen
        best = max(best, steady_score(recent))
    assert chosen > 150 and best < max(scores)


def test_a_clearly_worse_checkpoint_is_not_chosen() -> None:
    scores = [0.80, 0.81, 0.80, 0.79, 0.80]
    assert is_as_good([*scores, 0.795], 0.8) and not is_as_good([*scores, 0.76], 0.8)


def test_scores_that_change_quickly_are_no_excuse() -> None:
    scores = [0.2, 0.5, 0.8, 0.9]
    assert not is_as_good([*scores, 0.8 - 2 * LARGEST_TOLERANCE], 0.8)
