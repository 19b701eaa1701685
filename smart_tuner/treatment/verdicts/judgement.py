"""Judgement of an intervention: by its mechanism, by the outcome, or in a race with an untreated run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import Points
from smart_tuner.treatment.interventions import Expectation
from smart_tuner.treatment.verdicts.forecast import gain_over
from smart_tuner.treatment.verdicts.placebo import Comparison, Period, level_at, measure_placebo

Mechanism = Literal["works", "no_effect", "opposite"]
"""Whether the signal that an intervention should move has moved so."""
Verdict = Literal["helped", "unknown", "no_effect", "harmful"]
"""Helped and harmful are claimed against a control only: a race, or what the run does by itself."""


@dataclass(frozen=True)
class MechanismResult:
    """The signal at its deadline, and its gain over the forecast in the expected direction."""

    mechanism: Mechanism
    value: float | None = None
    gain: float | None = None
    is_within_noise: bool = False  # a race could still tell


@dataclass(frozen=True)
class Judgement:
    """Final verdict on an intervention, with the values it rests on."""

    verdict: Verdict
    value: float | None = None
    gain: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A held-out signal after an intervention, compared with what it did by itself before."""

    signal: str
    value: float
    gain: float
    placebo: Comparison
    n_placebo: int


def judge_mechanism(expected: Expectation, value: float | None, facts: RunFacts) -> MechanismResult:
    """Compare the signal with its forecast; without a value there is no effect."""
    if value is None:
        return MechanismResult("no_effect")
    sign = 1 if expected.direction == "up" else -1
    is_reached = expected.target is not None and sign * (value - expected.target) >= 0
    if expected.forecast is None:
        return MechanismResult("works" if is_reached or expected.target is None else "no_effect", value)
    gain = gain_over(expected, value, expected.forecast, facts)
    if is_reached or gain > expected.noise:
        return MechanismResult("works", value, gain)
    if gain < -2 * expected.noise:
        return MechanismResult("opposite", value, gain)
    return MechanismResult("no_effect", value, gain, is_within_noise=abs(gain) <= expected.noise)


def measure_outcome(
    expected: Expectation, points: Points, *, start: int, treated: Sequence[Period], facts: RunFacts
) -> Outcome | None:
    """Compare the latest level of a signal with its forecast, and with forecasts before the intervention at `start`."""
    if not points or points[-1][0] <= start or expected.forecast is None:
        return None
    step = points[-1][0]
    value = level_at(points, step, expected.signal, facts)
    gain = gain_over(expected, value, expected.forecast, facts)
    before = [point for point in points if point[0] <= start]
    placebo = measure_placebo(before, expected, step - start, treated, facts)
    return Outcome(expected.signal, value, gain, placebo.compare(gain), len(placebo.gains))


def verdict_of_mechanism(
    expected: Expectation,
    result: MechanismResult,
    points: Points,
    *,
    start: int,
    treated: Sequence[Period],
    facts: RunFacts,
) -> Verdict:
    """Verdict where no outcome is awaited: that the mechanism works does not mean that it was the cause of health."""
    if result.mechanism == "works":
        return "unknown"
    if result.mechanism == "opposite":
        outcome = measure_outcome(expected, points, start=start, treated=treated, facts=facts)
        return "harmful" if outcome is not None and outcome.placebo == "worse" else "no_effect"
    return "no_effect"


def verdict_of_outcomes(outcomes: Sequence[Outcome]) -> Verdict:
    """Helped if some signals are better than by themselves and none worse; harmful the other way round."""
    comparisons = {outcome.placebo for outcome in outcomes} - {"usual"}
    if comparisons == {"better"}:
        return "helped"
    return "harmful" if comparisons == {"worse"} else "unknown"
