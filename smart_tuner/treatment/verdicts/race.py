"""Judgement of a race: treated arms against untreated ones from the same checkpoint, paired by held-out utterance.

Each treated setting is trained with two seeds, the untreated one with three. A gain counts if it exceeds the noise
between seeds by Student's t, and if the utterances agree on it with both seeds; both corrected for the number of
settings.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smart_tuner.treatment.verdicts.judgement import Verdict
from smart_tuner.treatment.verdicts.paired_gain import ERROR_RATE, MIN_UTTERANCES, PairedGain, measure_gain
from smart_tuner.treatment.verdicts.student import student_limit

N_CONTROLS, N_SEEDS = 3, 2
Knobs = Mapping[str, float]
Distances = Mapping[str, float]
"""Utterance id → distance of what the arm says from the recording."""


@dataclass(frozen=True)
class RaceResult:
    """Verdict on the best treated setting (the worst, if none is better), and its gain over the untreated one."""

    verdict: Verdict
    setting: int | None = None
    gain: float | None = None
    noise: float | None = None  # deviation between seeds, in the logarithm of the distance


def race_arms(untreated: Knobs, settings: Sequence[Knobs]) -> tuple[tuple[Knobs, ...], tuple[int, ...]]:
    """Arms of a race in the order in which they are judged, and their seeds."""
    arms = [*[untreated] * N_CONTROLS, *(setting for setting in settings for _ in range(N_SEEDS))]
    return tuple(arms), (*range(N_CONTROLS), *list(range(N_SEEDS)) * len(settings))


def can_judge_race(evaluated_utterances: int) -> bool:
    """Whether so many held-out utterances are enough; 0: not known."""
    return evaluated_utterances == 0 or evaluated_utterances >= MIN_UTTERANCES


def judge_race(controls: Sequence[Distances], settings: Sequence[Sequence[Distances]]) -> RaceResult:
    """`settings`: the arms of each treated setting, one for each seed; one of which an arm is silent cannot win."""
    candidates = {i: seeds for i, seeds in enumerate(settings) if all(map(_says_enough, seeds))}
    arms = [*controls, *(arm for seeds in candidates.values() for arm in seeds)]
    shared = sorted(set.intersection(*(set(arm) for arm in arms)))
    if not candidates or len(shared) < MIN_UTTERANCES or not all(map(_says_enough, controls)):
        return RaceResult("unknown")
    levels = [_level(control, shared) for control in controls]
    treated = {i: [_level(arm, shared) for arm in seeds] for i, seeds in candidates.items()}
    noise, freedom = _pooled_deviation([levels, *treated.values()])
    error = noise * math.sqrt(1 / N_SEEDS + 1 / len(controls))
    limit = student_limit(ERROR_RATE / len(settings), freedom) * error
    gains = {i: statistics.fmean(levels) - statistics.fmean(group) for i, group in treated.items()}
    best = max(gains, key=gains.__getitem__)
    if gains[best] > limit and _agree(controls, candidates[best], len(settings), better=True):
        return RaceResult("helped", best, gains[best], noise)
    if len(settings) == 1 and -gains[best] > limit and _agree(controls, candidates[best], 1, better=False):
        return RaceResult("harmful", best, gains[best], noise)
    return RaceResult("unknown", None, gains[best], noise)


def _says_enough(arm: Distances) -> bool:
    return len(arm) >= MIN_UTTERANCES and min(arm.values()) > 0


def _level(arm: Distances, names: Sequence[str]) -> float:
    return statistics.fmean(math.log(arm[name]) for name in names)


def _pooled_deviation(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Deviation within groups, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum((value - statistics.fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(squares / freedom), freedom


def _agree(controls: Sequence[Distances], seeds: Sequence[Distances], n_settings: int, *, better: bool) -> bool:
    """Whether the utterances show the same with each seed."""
    gains = [
        measure_gain(control, arm, n_comparisons=n_settings) for control, arm in zip(controls, seeds, strict=False)
    ]
    return all(gain is not None and _shows(gain, better=better) for gain in gains)


def _shows(gain: PairedGain, *, better: bool) -> bool:
    return gain.is_better if better else gain.is_worse
