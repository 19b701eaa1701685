"""Benchmark of races without a treatment: its two rules on simulated arms."""

from __future__ import annotations

import numpy as np

from benchmarks.robustness.untreated_arms import N_ARMS, has_winner, has_winner_of_one_seed, print_table


def make_arms(seed: int, *, gain_of_last: float = 0.0) -> list[dict[str, float]]:
    """Arms whose speech differs by noise; both seeds of the last setting gain so much."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 0.01, N_ARMS)
    levels[-2:] -= gain_of_last
    return [{f"u{i}": float(np.exp(level + rng.normal(0, 0.02))) for i in range(16)} for level in levels]


def test_equal_arms_seldom_win_by_the_rule_of_races_and_often_by_that_of_one_seed() -> None:
    races = [make_arms(seed) for seed in range(60)]
    assert sum(map(has_winner, races)) <= 6 < sum(map(has_winner_of_one_seed, races))


def test_a_real_gain_wins() -> None:
    assert sum(has_winner(make_arms(seed, gain_of_last=0.15)) for seed in range(20)) >= 15


def test_the_share_of_winners_is_printed_for_each_run() -> None:
    lines: list[str] = []
    assert print_table([{"run": "a", "step": 600, "arms": make_arms(1)}], lines.append)
    assert "a from step 600: arms differ by" in lines[0]
    assert not print_table([], lines.append)
