"""Verdict on a rollback or restart: present and abandoned state, compared after equally many steps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from smart_tuner.detectors.series import change_spread
from smart_tuner.treatment.verdicts.judgement import Judgement
from smart_tuner.treatment.verdicts.paired_gain import MIN_UTTERANCES, measure_gain
from smart_tuner.treatment.verdicts.race import Distances

MIN_GAIN = 0.1
"""Of the distance, in its logarithm: equal runs that differ by their seeds are up to 3 % apart."""
NOISE_FACTOR, RECENT_EVALUATIONS = 2.0, 12


def judge_abandoned(present: Distances, abandoned: Distances, levels: Sequence[float]) -> Judgement:
    """Helped, or harmful, if the utterances agree and differ by more than evaluations of this run do.

    `levels`: mean logarithms of the distances at the run's evaluations, for their noise.
    """
    speaks, spoke = (len(distances) >= MIN_UTTERANCES for distances in (present, abandoned))
    if speaks != spoke:
        return Judgement("helped" if speaks else "harmful", evidence={"silent": 1.0})
    gain = measure_gain(abandoned, present)
    if gain is None:
        return Judgement("unknown")
    noise = change_spread(levels[-RECENT_EVALUATIONS:])
    limit = max(MIN_GAIN, NOISE_FACTOR * noise)
    values = {"control": _mean(abandoned), "treated": _mean(present), "noise": noise}
    if gain.is_better and gain.mean > limit:
        return Judgement("helped", gain=gain.mean, evidence=values)
    if gain.is_worse and -gain.mean > limit:
        return Judgement("harmful", gain=gain.mean, evidence=values)
    return Judgement("unknown", gain=gain.mean, evidence=values)


def _mean(distances: Distances) -> float:
    """Geometric mean."""
    return math.exp(statistics.fmean(math.log(value) for value in distances.values()))
