"""The settings that may be turned while training runs."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hparams import HParams
from models.interface import LossKnobs
from training.schedule import planned_guide_weight


@dataclass
class Knobs:
    """Current positions; only the trainer writes them. Multipliers act on the recipe's schedules."""

    learning_rate_multiplier: float
    guide_weight_multiplier: float
    guide_sigma: float
    gate_positive_weight: float
    grad_clip_thresh: float

    @staticmethod
    def from_hparams(hparams: HParams) -> Knobs:
        return Knobs(1.0, 1.0, hparams.guide_sigma, hparams.gate_positive_weight, hparams.grad_clip_thresh)

    def for_losses(self, step: int, hparams: HParams) -> LossKnobs:
        """What the losses need of the knobs at this step."""
        guide_weight = planned_guide_weight(step, hparams) * self.guide_weight_multiplier
        return LossKnobs(guide_weight, self.guide_sigma, self.gate_positive_weight)


KNOB_NAMES = tuple(field.name for field in fields(Knobs))
