from __future__ import annotations

from dataclasses import asdict

from hparams import HParams
from models.interface import LossKnobs
from training.knobs import KNOB_NAMES, Knobs

RECIPE = HParams(
    guide_loss_weight=2.0,
    guide_sigma=0.3,
    gate_positive_weight=5.0,
    grad_clip_thresh=0.7,
    guide_anneal_start_step=10,
    guide_anneal_steps=10,
)


def test_knobs_start_where_the_person_set_them() -> None:
    assert asdict(Knobs.from_hparams(RECIPE)) == {
        "learning_rate_multiplier": 1.0,
        "guide_weight_multiplier": 1.0,
        "guide_sigma": 0.3,
        "gate_positive_weight": 5.0,
        "gate_threshold": 0.5,
        "grad_clip_thresh": 0.7,
        "micro_batches": 1.0,
        "batches_per_update": 1.0,
    }
    assert tuple(asdict(Knobs.from_hparams(RECIPE))) == KNOB_NAMES


def test_the_losses_get_the_planned_guide_weight_times_its_multiplier() -> None:
    knobs = Knobs.from_hparams(RECIPE)
    knobs.guide_weight_multiplier, knobs.guide_sigma, knobs.gate_positive_weight = 1.5, 0.2, 6.0
    assert knobs.for_losses(1, RECIPE) == LossKnobs(3.0, 0.2, 6.0)
    assert knobs.for_losses(15, RECIPE) == LossKnobs(1.5, 0.2, 6.0)
