from __future__ import annotations

import pytest

from hparams import HParams
from training.schedule import planned_guide_weight, planned_learning_rate

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
def test_the_learning_rate_warms_up_stays_and_halves_down_to_the_floor(step: int, share: float) -> None:
    assert planned_learning_rate(step, RECIPE) == pytest.approx(1e-3 * share)


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert planned_learning_rate(1, RECIPE.model_copy(update={"warmup_steps": 0})) == 1e-3


@pytest.mark.parametrize(("step", "weight"), [(1, 2.0), (20, 2.0), (40, 1.0), (50, 0.5), (60, 0.0), (1000, 0.0)])
def test_guidance_is_full_and_then_fades_to_zero(step: int, weight: float) -> None:
    assert planned_guide_weight(step, RECIPE) == pytest.approx(weight)
