"""Races: untreated arms seldom win, real gains do, and noise between seeds is no gain."""

from __future__ import annotations

import numpy as np
import pytest

from smart_tuner.treatment.verdicts.race import N_CONTROLS, N_SEEDS, RaceResult, can_judge_race, judge_race


def run_race(
    seed: int, *, settings: int, gain: float = 0.0, seed_noise: float = 0.02, utterance_noise: float = 0.02
) -> RaceResult:
    """Simulate a race whose last setting gains so much; `seed_noise` moves all utterances of an arm."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.4, 32)

    def arm(own_gain: float) -> dict[str, float]:
        noise = rng.normal(0, seed_noise) + rng.normal(0, utterance_noise, 32)
        return {f"u{i}": float(value) for i, value in enumerate(np.exp(ease + noise - own_gain))}

    controls = [arm(0.0) for _ in range(N_CONTROLS)]
    treated = [[arm(gain if i == settings - 1 else 0.0) for _ in range(N_SEEDS)] for i in range(settings)]
    return judge_race(controls, treated)


@pytest.mark.parametrize("seed_noise", [0.01, 0.02, 0.03])
@pytest.mark.parametrize("utterance_noise", [0.01, 0.05])
def test_six_untreated_settings_make_a_winner_in_a_twentieth_of_races_at_most(
    seed_noise: float, utterance_noise: float
) -> None:
    races = [run_race(i, settings=6, seed_noise=seed_noise, utterance_noise=utterance_noise) for i in range(150)]
    assert sum(race.verdict == "helped" for race in races) <= 0.05 * 150 + 4  # two deviations of a count of 7.5
    assert all(race.verdict != "harmful" for race in races)


def test_a_large_gain_wins() -> None:
    races = [run_race(i, settings=4, gain=0.12) for i in range(40)]
    assert sum(race.verdict == "helped" and race.setting == 3 for race in races) >= 30


def test_one_setting_can_do_harm() -> None:
    races = [run_race(i, settings=1, gain=-0.2) for i in range(40)]
    assert sum(race.verdict == "harmful" for race in races) >= 30


SPEAKING, BETTER = ({f"u{i}": value for i in range(8)} for value in (1.0, 0.5))


@pytest.mark.parametrize("silent", [{}, {"u0": 1.0}, SPEAKING | {"u0": 0.0}])
def test_a_setting_that_says_nothing_cannot_win_and_does_not_spoil_the_race(silent: dict[str, float]) -> None:
    assert judge_race([SPEAKING] * 3, [[silent, SPEAKING]]).verdict == "unknown"
    assert judge_race([SPEAKING] * 3, [[silent, silent], [BETTER, BETTER]]).setting == 1
    assert judge_race([silent, SPEAKING, SPEAKING], [[BETTER, BETTER]]).verdict == "unknown"


def test_too_few_held_out_utterances_are_not_raced() -> None:
    assert can_judge_race(0) and can_judge_race(4) and not can_judge_race(3)
