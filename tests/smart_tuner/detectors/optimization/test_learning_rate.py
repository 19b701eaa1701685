from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.detectors.optimization.learning_rate import (
    detect_learning_rate_too_high,
    detect_learning_rate_too_low,
    peak_update_ratios,
    typical_update_ratio,
    usual_update_ratio,
)
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from tests.smart_tuner.detectors.optimization.stretching import LONG, is_stretched, stretched
from tests.smart_tuner.histories import Values, every, falling, make_facts, make_view, noisy, on_series

STANDING, FALLING = noisy(5.0, 100, 0.03), falling(8.0, 2.0, 100, 0.03)
WARMUP = make_facts(warmup_steps=100)
KNOB = "learning_rate_multiplier"


def far_from_recipe(preset: float, **changes: Any) -> RunFacts:
    """Facts of a run that started with a learning rate of 1, far from its recipe's."""
    return make_facts(knobs={KNOB: KnobFacts(start=1.0, low=1 / 256, high=256.0, preset=preset)}, **changes)


def test_update_ratios_are_corrected_for_the_warm_up() -> None:
    view = make_view({"update_ratio": every(10, [0.0005, 0.001, 0.0015])}, WARMUP)
    assert peak_update_ratios(view, 3) == [
        (10, pytest.approx(0.005)),
        (20, pytest.approx(0.005)),
        (30, pytest.approx(0.005)),
    ]
    view = make_view({"update_ratio": every(10, [0.005] * 30)}, WARMUP)
    assert peak_update_ratios(view, 10) == [(step, 0.005) for step in range(210, 301, 10)]


def test_the_warm_up_starts_again_with_an_attempt() -> None:
    view = make_view({"update_ratio": {510: 0.0005, 520: 0.001, 530: 0.0015}}, WARMUP, attempt_start=500)
    assert typical_update_ratio(view) == pytest.approx(0.005)


def test_the_typical_ratio_is_the_median_of_three() -> None:
    assert typical_update_ratio(make_view({"update_ratio": every(10, [9.0, 0.004, 9.0, 0.005])})) == 0.005
    assert typical_update_ratio(make_view({"update_ratio": every(10, [0.004, 0.004, 9.0, 0.006, 0.005])})) == 0.006


def test_there_is_no_typical_ratio_of_too_few_or_too_old_measurements() -> None:
    assert typical_update_ratio(make_view({})) is None
    assert typical_update_ratio(make_view({"update_ratio": every(10, [0.1, 0.1])})) is None
    assert typical_update_ratio(make_view({"update_ratio": every(10, [0.1, 0.1, 0.1])}, step=500)) is None


def usual_ratio(ratios: Sequence[float], facts: RunFacts | None = None, **changes: Any) -> float | None:
    view = make_view({"update_ratio": every(10, ratios)}, facts, **changes)
    return usual_update_ratio(view, "learning_rate_too_high")


def test_the_usual_ratio_is_the_median_before_the_typical_measurements() -> None:
    assert usual_ratio([0.003, 0.005, 0.004, 0.004, 0.1, 0.2, 0.3]) == 0.004
    assert usual_ratio([0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007], WARMUP) == pytest.approx(0.01)


def test_the_usual_ratio_is_that_of_four_to_ten_measurements() -> None:
    assert usual_ratio([0.1, 0.1, 0.1]) is None
    assert usual_ratio([*[0.004] * 3, 0.1, 0.2, 0.3]) is None
    assert usual_ratio([*[0.004] * 4, 0.1, 0.2, 0.3]) == 0.004
    assert usual_ratio([*[9.0] * 20, *[0.004] * 10, 0.1, 0.2, 0.3]) == 0.004


def test_the_usual_ratio_stays_during_an_ailment() -> None:
    ratios = [*[0.004] * 50, *[0.03] * 20]
    assert usual_ratio(ratios) == 0.03
    assert usual_ratio(ratios, active={"learning_rate_too_high": 510}) == 0.004
    ratios = [*[9.0] * 12, *[0.004] * 5, *[0.006] * 5, *[0.03] * 20]
    assert usual_ratio(ratios, active={"learning_rate_too_high": 230}) == pytest.approx(0.005)


diagnose_too_high = on_series(detect_learning_rate_too_high)


def too_high(factor: float, losses: Sequence[float], *, scale: float = 1.0, active: bool = False) -> bool:
    """Whether updates are too large if the latest three are `factor` times as large as the others."""
    usual = 0.004 * scale
    ratios = every(10, [*[usual] * 7, *[factor * usual] * 3])
    series: dict[str, Values] = {"update_ratio": ratios, "total_loss": [scale * loss for loss in losses]}
    return diagnose_too_high(series, active={"learning_rate_too_high": 80} if active else {}) is not None


def test_updates_far_above_their_habit_are_too_large() -> None:
    ratios = every(10, [*[0.004] * 7, *[0.1] * 3])
    diagnosis = diagnose_too_high({"update_ratio": ratios, "total_loss": STANDING})
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("critical", 100, 80)
    evidence = dict(diagnosis.evidence)
    assert abs(evidence.pop("loss_trend")) < 0.05  # a fall smaller than the noise is no fall
    assert evidence == {"update_ratio": 0.1, "excess": pytest.approx(25.0), "before": 0.004}


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize(
    ("factor", "standing", "while_falling"),
    [(4.9, False, False), (5.1, True, False), (11.9, True, False), (12.1, True, True)],
)
def test_large_updates_of_any_scale_are_allowed_while_the_loss_falls_and_huge_ones_never(
    factor: float, standing: bool, while_falling: bool, scale: float
) -> None:
    assert too_high(factor, STANDING, scale=scale) is standing
    assert too_high(factor, FALLING, scale=scale) is while_falling


def test_updates_must_halve_below_the_entry_limit_to_recover() -> None:
    assert too_high(2.6, STANDING, active=True)
    assert not too_high(2.4, STANDING, active=True)
    assert too_high(6.1, FALLING, active=True)
    assert not too_high(5.9, FALLING, active=True)


def test_updates_that_always_were_large_are_a_habit() -> None:
    assert diagnose_too_high({"update_ratio": every(10, [0.5] * 10), "total_loss": STANDING}) is None


def too_high_beside_recipe(excess: float, losses: Sequence[float], **changes: Any) -> Diagnosis | None:
    ratios = every(10, [0.15] * (len(losses) // 10))
    series: dict[str, Values] = {"update_ratio": ratios, "total_loss": losses}
    arguments: dict[str, Any] = {"facts": far_from_recipe(1.0), "knobs": {KNOB: excess}}
    return diagnose_too_high(series, **(arguments | changes))


def test_a_rate_thirty_times_the_recipes_is_diagnosed_in_thirty_steps() -> None:
    assert too_high_beside_recipe(30.0, noisy(7.0, 29)) is None
    diagnosis = too_high_beside_recipe(30.0, noisy(7.0, 30))
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("critical", 30, 10)
    assert diagnosis.evidence["update_ratio"] == 0.15 and diagnosis.evidence["excess"] == 30.0
    assert "before" not in diagnosis.evidence


@pytest.mark.parametrize(
    ("excess", "standing", "while_falling"),
    [(4.9, False, False), (5.1, True, False), (11.9, True, False), (12.1, True, True)],
)
def test_a_large_rate_is_allowed_while_the_loss_falls_and_a_huge_one_never(
    excess: float, standing: bool, while_falling: bool
) -> None:
    assert (too_high_beside_recipe(excess, STANDING) is not None) is standing
    assert (too_high_beside_recipe(excess, FALLING) is not None) is while_falling


def test_a_rate_must_be_lowered_to_half_the_entry_limit_to_recover() -> None:
    active = {"learning_rate_too_high": 10}
    assert too_high_beside_recipe(2.6, STANDING, active=active) is not None
    assert too_high_beside_recipe(2.4, STANDING, active=active) is None


def test_a_rate_that_started_near_the_recipes_is_not_too_high() -> None:
    assert too_high_beside_recipe(30.0, STANDING, facts=make_facts()) is None
    assert too_high_beside_recipe(30.0, STANDING, facts=make_facts(knobs={})) is None
    assert too_high_beside_recipe(30.0, STANDING, knobs={}) is None


@pytest.mark.parametrize(("warmup", "planned", "is_diagnosed"), [(40, 660, True), (41, 660, False), (500, 450, True)])
def test_too_high_is_not_diagnosed_before_the_end_of_a_short_warm_up(
    warmup: int, planned: int, is_diagnosed: bool
) -> None:
    facts = far_from_recipe(1.0, warmup_steps=warmup, planned_steps=planned, steps_per_evaluation=planned // 15)
    assert (too_high_beside_recipe(30.0, noisy(7.0, 40), facts=facts) is not None) is is_diagnosed


@pytest.mark.parametrize(("before", "was_healthy"), [(0.004, True), (0.019, True), (0.021, False)])
def test_the_evidence_tells_whether_updates_were_healthy_before(before: float, was_healthy: bool) -> None:
    ratios, arguments = every(10, [*[before] * 4, *[0.1] * 3]), {"facts": far_from_recipe(1.0), "knobs": {KNOB: 20.0}}
    diagnosis = diagnose_too_high({"update_ratio": ratios, "total_loss": noisy(5.0, 70, 0.03)}, **arguments)
    assert diagnosis is not None and diagnosis.since == 50
    assert diagnosis.evidence.get("before") == (before if was_healthy else None)


def test_the_former_ratio_is_still_known_long_after_the_diagnosis() -> None:
    ratios, losses = [*[0.004] * 50, *[0.03] * 20], noisy(5.0, 700, 0.03)
    series: dict[str, Values] = {"update_ratio": every(10, ratios), "total_loss": losses}
    diagnosis = diagnose_too_high(series, active={"learning_rate_too_high": 530})
    assert diagnosis is not None and (diagnosis.evidence["before"], diagnosis.since) == (0.004, 530)


def test_too_high_is_not_diagnosed_from_missing_measurements() -> None:
    assert diagnose_too_high({}) is None
    high: dict[str, Any] = {"facts": far_from_recipe(1.0), "knobs": {KNOB: 30.0}}
    assert diagnose_too_high({"update_ratio": every(10, [0.5] * 10)}, **high) is None
    gaps: dict[str, Values] = {"update_ratio": every(10, [None, 0.5, None, 0.5]), "total_loss": [5.0] * 40}
    assert diagnose_too_high(gaps, **high) is None
    assert diagnose_too_high({"update_ratio": every(10, [0.5] * 4), "total_loss": [None] * 40}, **high) is None
    assert diagnose_too_high({"update_ratio": every(10, [0.5] * 4), "total_loss": [5.0] * 40}, **high) is not None


@pytest.mark.parametrize(
    ("n_large", "ratio", "losses", "is_too_high"),
    [(1, 0.1, STANDING, False), (2, 0.1, STANDING, True), (3, 0.03, STANDING, True), (3, 0.03, FALLING, False)],
)
def test_large_updates_of_a_run_ten_times_as_long_are_the_same(
    n_large: int, ratio: float, losses: Sequence[float], is_too_high: bool
) -> None:
    ratios = [*[0.004] * (10 - n_large), *[ratio] * n_large]
    short = diagnose_too_high({"update_ratio": every(10, ratios), "total_loss": losses})
    series: dict[str, Values] = {"update_ratio": every(10, stretched(ratios)), "total_loss": stretched(losses)}
    assert (short is not None) is is_too_high
    assert is_stretched(diagnose_too_high(series, make_facts(**LONG)), short)


FALLING_TO_3 = falling(8.0, 3.0, 100, 0.03)
PEAK = make_facts().peak_learning_rate
ACTIVE_TOO_LOW: dict[str, Any] = {"active": {"learning_rate_too_low": 1}}
diagnose_too_low = on_series(detect_learning_rate_too_low)


def too_low(share: float, losses: Sequence[float], *, rate: float = PEAK, **changes: Any) -> Diagnosis | None:
    """Diagnosis of a learning rate that is `share` times smaller than the recipe's."""
    series: dict[str, Values] = {
        "update_ratio": every(10, [5e-5] * (len(losses) // 10)),
        "total_loss": losses,
        "learning_rate": [rate] * len(losses),
        "free_diagonality": {20: 0.1},
    }
    arguments: dict[str, Any] = {"facts": far_from_recipe(share), "knobs": {KNOB: 1.0}}
    return diagnose_too_low(series, **(arguments | changes))


def test_a_rate_far_below_the_recipes_is_too_low() -> None:
    diagnosis = too_low(40.0, STANDING)
    assert diagnosis is not None
    assert (diagnosis.severity, diagnosis.step, diagnosis.since) == ("warning", 100, 80)
    assert diagnosis.evidence["update_ratio"] == 5e-5
    assert diagnosis.evidence["share_of_recipe"] == pytest.approx(1 / 40)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(
    ("share", "standing", "while_falling"),
    [(3.9, False, False), (4.1, True, False), (29.0, True, False), (31.0, True, True)],
)
def test_a_low_rate_is_allowed_while_the_loss_falls_and_a_tiny_one_never(
    share: float, standing: bool, while_falling: bool, scale: float
) -> None:
    assert (too_low(share, [scale * loss for loss in STANDING]) is not None) is standing
    assert (too_low(share, [scale * loss for loss in FALLING_TO_3]) is not None) is while_falling


def test_a_rate_must_be_raised_above_twice_the_entry_limit_to_recover() -> None:
    assert too_low(2.1, STANDING, **ACTIVE_TOO_LOW) is not None
    assert too_low(1.9, STANDING, **ACTIVE_TOO_LOW) is None
    assert too_low(15.1, FALLING_TO_3, **ACTIVE_TOO_LOW) is not None
    assert too_low(14.9, FALLING_TO_3, **ACTIVE_TOO_LOW) is None


def test_the_present_rate_is_compared_with_the_recipes() -> None:
    assert too_low(40.0, STANDING, knobs={KNOB: 9.0}) is not None
    assert too_low(40.0, STANDING, knobs={KNOB: 11.0}) is None


def test_a_rate_that_started_near_the_recipes_is_not_too_low() -> None:
    assert too_low(40.0, STANDING, facts=make_facts()) is None
    assert too_low(40.0, STANDING, facts=make_facts(knobs={})) is None
    assert too_low(40.0, STANDING, knobs={}) is None


def test_too_low_is_not_diagnosed_before_the_warm_up_and_half_a_window() -> None:
    facts = far_from_recipe(40.0, warmup_steps=60)
    assert too_low(40.0, noisy(5.0, 74), facts=facts) is None
    assert too_low(40.0, noisy(5.0, 75), facts=facts) is not None


def test_a_rate_lowered_by_schedule_or_intervention_is_allowed() -> None:
    assert too_low(40.0, STANDING, rate=0.49 * PEAK) is None
    assert too_low(40.0, STANDING, rate=0.5 * PEAK) is not None
    assert too_low(40.0, STANDING, phase="quality") is None


@pytest.mark.parametrize("missing", ["update_ratio", "total_loss", "learning_rate", "free_diagonality"])
def test_too_low_is_not_diagnosed_from_missing_measurements(missing: str) -> None:
    """A missing diagonality means that no evaluation has shown yet whether the model speaks already."""
    series: dict[str, Values] = {
        "update_ratio": every(10, [5e-5] * 10),
        "total_loss": STANDING,
        "learning_rate": [PEAK] * 100,
        "free_diagonality": {100: 0.1},
    }
    arguments: dict[str, Any] = {"facts": far_from_recipe(40.0), "knobs": {KNOB: 1.0}}
    assert diagnose_too_low(series, **arguments) is not None
    without = {name: values for name, values in series.items() if name != missing}
    assert diagnose_too_low(without, step=100, **arguments) is None


@pytest.mark.parametrize(("n_steps", "is_too_low"), [(20, False), (30, True)])
def test_a_low_rate_of_a_run_ten_times_as_long_is_the_same(n_steps: int, is_too_low: bool) -> None:
    short = too_low(40.0, STANDING[:n_steps])
    losses = [value for loss in STANDING[:n_steps] for value in [loss] * 10]
    long = too_low(40.0, losses, facts=far_from_recipe(40.0, **LONG))
    assert (short is not None) is is_too_low and is_stretched(long, short)


def collapse(*ratios: float, **changes: Any) -> Diagnosis | None:
    return diagnose_too_low({"update_ratio": every(10, ratios)}, **({"phase": "quality"} | changes))


def test_collapsed_updates_are_diagnosed_in_every_phase() -> None:
    assert collapse(*[3e-3] * 4, 9e-5, 0.0) is not None
    assert collapse(*[3e-3] * 4, 9e-5) is None  # one measurement may be chance
    assert collapse(*[3e-3] * 4, 1e-3, 9e-5) is None
    assert collapse(*[3e-3] * 3, 9e-5, 9e-5) is None  # too few measurements before
    for phase in ("pre_alignment", "alignment", "quality", "fine_tuning"):
        diagnosis = collapse(*[3e-3] * 4, 9e-5, 8e-5, phase=phase)
        assert diagnosis is not None and diagnosis.since == 50
        assert diagnosis.evidence == {"update_ratio": 9e-5, "before": 3e-3}


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("factor", "is_collapse"), [(29.0, False), (31.0, True)])
def test_updates_of_any_scale_collapse_to_a_thirtieth(factor: float, is_collapse: bool, scale: float) -> None:
    usual = 3e-3 * scale
    assert (collapse(*[usual] * 6, *[usual / factor] * 2) is not None) is is_collapse


@pytest.mark.parametrize(("n_small", "is_collapse"), [(1, False), (2, True)])
def test_a_collapse_in_a_run_ten_times_as_long_is_the_same(n_small: int, is_collapse: bool) -> None:
    ratios = [*[3e-3] * 6, *[5e-5] * n_small]
    short = collapse(*ratios)
    long = collapse(*[ratio for ratio in ratios for _ in range(10)], facts=make_facts(**LONG))
    assert (short is not None) is is_collapse and is_stretched(long, short)
