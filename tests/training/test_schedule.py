from __future__ import annotations

import pytest

from hparams import HParams
from training.schedule import (
    FALLBACK_GUIDE_WEIGHT,
    RECIPE_PLAN,
    PhasePlan,
    PlanStretch,
    ScheduleClock,
    planned_guide_weight,
    planned_learning_rate,
)

RECIPE = HParams(
    learning_rate=1e-3,
    warmup_steps=10,
    decay_start_step=100,
    decay_half_life_steps=50,
    learning_rate_floor=0.1,
    guide_loss_weight=2.0,
    guide_anneal_start_step=20,
    guide_anneal_steps=40,
)


@pytest.mark.parametrize(
    ("step", "share"),
    [(1, 0.1), (5, 0.5), (10, 1.0), (100, 1.0), (150, 0.5), (200, 0.25), (10_000, 0.1), (10**7, 0.1)],
)
def test_learning_rate_warms_up_stays_and_halves_down_to_the_floor(step: int, share: float) -> None:
    assert planned_learning_rate(step, RECIPE) == pytest.approx(1e-3 * share)


def test_first_step_has_the_peak_rate_without_warm_up() -> None:
    assert planned_learning_rate(1, RECIPE.model_copy(update={"warmup_steps": 0})) == 1e-3


@pytest.mark.parametrize(("step", "share"), [(1, 0.1), (10, 1.0), (40, 0.5), (90, 1 / 3), (10**7, 0.1)])
def test_noam_rate_falls_with_the_square_root_of_the_step_after_the_warm_up(step: int, share: float) -> None:
    recipe = RECIPE.model_copy(update={"learning_rate_schedule": "noam"})
    assert planned_learning_rate(step, recipe) == pytest.approx(1e-3 * share)


def test_noam_schedule_is_held_at_its_peak() -> None:
    clock, recipe = ScheduleClock(), RECIPE.model_copy(update={"learning_rate_schedule": "noam"})
    clock.hold(1055, recipe)
    assert clock.schedule_step(1055) == 10


@pytest.mark.parametrize(("step", "weight"), [(1, 2.0), (20, 2.0), (40, 1.0), (50, 0.5), (60, 0.0), (1000, 0.0)])
def test_guide_weight_is_constant_and_then_falls_to_zero(step: int, weight: float) -> None:
    assert planned_guide_weight(step, RECIPE) == pytest.approx(weight)


def test_recipe_without_guidance_has_a_fallback_base_weight() -> None:
    recipe = RECIPE.model_copy(update={"guide_loss_weight": 0.0})
    assert planned_guide_weight(1, recipe) == FALLBACK_GUIDE_WEIGHT
    assert planned_guide_weight(40, recipe) == pytest.approx(FALLBACK_GUIDE_WEIGHT / 2)


def test_clock_of_a_run_without_interventions_equals_the_step() -> None:
    clock = ScheduleClock()
    assert [clock.schedule_step(step) for step in (0, 1, 500)] == [0, 1, 500]
    assert [clock.warmup_factor(step) for step in (0, 1, 500)] == [1.0, 1.0, 1.0]


def test_restart_sets_the_clock_to_zero() -> None:
    assert ScheduleClock(origin_step=100).schedule_step(103) == 3


def test_holding_stops_the_clock_before_the_late_part_and_releasing_continues_from_there() -> None:
    clock, schedule_steps = ScheduleClock(), []
    for step in range(1, 41):
        if step <= 30:
            clock.hold(step, RECIPE)
        schedule_steps.append(clock.schedule_step(step))
    assert schedule_steps == [*range(1, 21), *([20] * 10), *range(21, 31)]


def test_holding_does_not_change_the_clock_before_the_late_part() -> None:
    clock = ScheduleClock()
    for step in range(1, 21):
        clock.hold(step, RECIPE)
    assert clock == ScheduleClock()


def test_holding_within_the_late_part_returns_to_its_beginning() -> None:
    clock = ScheduleClock(origin_step=1000)
    clock.hold(1055, RECIPE)
    assert clock.schedule_step(1055) == 20
    assert planned_guide_weight(clock.schedule_step(1055), RECIPE) == 2.0
    assert planned_learning_rate(clock.schedule_step(1055), RECIPE) == 1e-3


@pytest.mark.parametrize(
    ("changes", "held_step"),
    [
        ({"decay_start_step": 15}, 15),
        ({"guide_anneal_start_step": 0}, 10),  # not into the warm-up
        ({"guide_anneal_start_step": 0, "warmup_steps": 0}, 1),
    ],
)
def test_late_part_begins_with_the_first_change_after_the_warm_up(changes: dict[str, int], held_step: int) -> None:
    clock = ScheduleClock()
    clock.hold(99, RECIPE.model_copy(update=changes))
    assert clock.schedule_step(99) == held_step


def test_second_warm_up_is_linear_and_ends() -> None:
    clock = ScheduleClock(warm_from_step=100, warm_steps=4)
    assert [clock.warmup_factor(step) for step in (101, 102, 103, 104, 105, 1000)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_phase_without_targets_follows_the_recipe() -> None:
    assert PhasePlan() == RECIPE_PLAN == PhasePlan(1.0, 1.0, 1.0, 1.0, 0.0)


def test_a_stretched_plan_runs_its_schedules_at_another_pace_from_a_step_on() -> None:
    stretch = PlanStretch(from_step=100, pace=0.5)
    assert [ScheduleClock().schedule_step(step, stretch) for step in (50, 100, 110)] == [50, 100, 105]
    assert ScheduleClock(origin_step=110).schedule_step(120, stretch) == 5
    assert isinstance(ScheduleClock().schedule_step(7), int)  # without one, exactly the steps
