"""The settings that may be turned while training runs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from hparams import HParams
from models import ARCHITECTURES
from models.interface import LossKnobs
from training.schedule import RECIPE_PLAN, PhasePlan, planned_guide_weight


@dataclass
class Knobs:
    """Current positions of the knobs; only the trainer writes them. Multipliers act on the recipe's schedules."""

    learning_rate_multiplier: float
    guide_weight_multiplier: float
    guide_sigma: float
    gate_positive_weight: float
    gate_threshold: float
    grad_clip_thresh: float
    duration_loss_weight: float
    micro_batches: float = 1.0  # parts a batch is computed in, when it does not fit into memory
    batches_per_update: float = 1.0

    @staticmethod
    def from_hparams(hparams: HParams) -> Knobs:
        return Knobs(
            learning_rate_multiplier=1.0,
            guide_weight_multiplier=1.0 if hparams.guide_loss_weight else 0.0,
            guide_sigma=hparams.guide_sigma,
            gate_positive_weight=hparams.gate_positive_weight,
            gate_threshold=hparams.gate_threshold,
            grad_clip_thresh=hparams.grad_clip_thresh,
            duration_loss_weight=hparams.duration_loss_weight,
        )

    def for_losses(self, schedule_step: float, hparams: HParams, plan: PhasePlan = RECIPE_PLAN) -> LossKnobs:
        """Settings of the model's loss at this step of the schedules."""
        weight = planned_guide_weight(schedule_step, hparams) * self.guide_weight_multiplier * plan.guide_weight_share
        sigma = self.guide_sigma * plan.guide_sigma_share
        values = vars(self) | {"guide_weight": weight, "guide_sigma": sigma}
        return {name: values[name] for name in ARCHITECTURES[hparams.model].LOSS_KNOBS}


KNOB_NAMES = tuple(field.name for field in fields(Knobs))
LOSS_SETTINGS = {
    "guide_weight_multiplier": "guide_weight",
    "guide_sigma": "guide_sigma",
    "gate_positive_weight": "gate_positive_weight",
    "duration_loss_weight": "duration_loss_weight",
}
"""The loss setting, as models declare it in LOSS_KNOBS, that a knob changes."""
RECIPE_FIELDS = {"learning_rate_multiplier": "learning_rate", "guide_weight_multiplier": "guide_loss_weight"}
"""The setting that a knob multiplies; the others bear the name of theirs."""


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest position of a knob; `first` is the first position above zero of one that is switched off."""

    low: float
    high: float
    first: float | None = None


KNOB_BOUNDS = {
    "learning_rate_multiplier": Bounds(1 / 256, 256),
    "guide_weight_multiplier": Bounds(0, 8, first=0.25),
    "guide_sigma": Bounds(0.05, 1),
    "gate_positive_weight": Bounds(0.1, 1000),
    "gate_threshold": Bounds(0.05, 0.95),
    "grad_clip_thresh": Bounds(0.01, 1000),
    "duration_loss_weight": Bounds(0, 4, first=0.25),
    "micro_batches": Bounds(1, 64),
    "batches_per_update": Bounds(1, 16),
}


def bounds_of(name: str, hparams: HParams) -> Bounds:
    """Bounds of a knob in one training: widened to its start position, which the recipe may set outside of them."""
    bounds, start = KNOB_BOUNDS[name], vars(Knobs.from_hparams(hparams))[name]
    return replace(bounds, low=min(bounds.low, start), high=max(bounds.high, start))


def knobs_with_effect(hparams: HParams) -> tuple[str, ...]:
    """Names of the knobs that the model has a use for; one without a gate, for example, has none for the gate's."""
    model = ARCHITECTURES[hparams.model]
    unused = {knob for knob, setting in LOSS_SETTINGS.items() if setting not in model.LOSS_KNOBS}
    if not model.HAS_GATE:
        unused.add("gate_threshold")
    return tuple(name for name in KNOB_NAMES if name not in unused)
