"""What the recipe plans for each step; the knobs multiply it, the phases shape it."""

from __future__ import annotations

from dataclasses import dataclass

from hparams import HParams

FALLBACK_GUIDE_WEIGHT = 10.0
"""Of a recipe without guidance, should it turn out to need some."""


@dataclass(frozen=True)
class PhasePlan:
    """What a phase makes of the schedules: shares multiply them, holding keeps them before their late part."""

    learning_rate_share: float = 1.0
    grad_clip_share: float = 1.0
    guide_weight_share: float = 1.0
    guide_sigma_share: float = 1.0
    hold_schedules: float = 0.0


RECIPE_PLAN = PhasePlan()


@dataclass
class ScheduleClock:
    """Which step of the schedules it is: a new start sets it to zero, holding stops it, a re-warm-up slows it."""

    origin_step: int = 0
    held_steps: int = 0
    warm_from_step: int = 0
    warm_steps: int = 0

    def schedule_step(self, step: int) -> int:
        return step - self.origin_step - self.held_steps

    def hold(self, step: int, hparams: HParams) -> None:
        """Stay before the late part of the schedules; go back there if it has begun."""
        late = min(hparams.guide_anneal_start_step, hparams.decay_start_step)
        before = max(1, hparams.warmup_steps, 0 if hparams.learning_rate_schedule == "noam" else late)
        self.held_steps += max(0, self.schedule_step(step) - before)

    def warmup_factor(self, step: int) -> float:
        """Of the learning rate after the optimizer lost its moments."""
        return min(1.0, (step - self.warm_from_step) / self.warm_steps) if self.warm_steps else 1.0


def planned_learning_rate(step: int, hparams: HParams) -> float:
    """Linear warm-up to the peak, then as the schedule has it, down to the floor; steps count from 1."""
    warmth = min(1.0, step / hparams.warmup_steps) if hparams.warmup_steps else 1.0
    if hparams.learning_rate_schedule == "noam":
        decay = min(1.0, max(1, hparams.warmup_steps) / step) ** 0.5
    else:
        decay = 0.5 ** (max(0, step - hparams.decay_start_step) / hparams.decay_half_life_steps)
    return hparams.learning_rate * warmth * max(hparams.learning_rate_floor, decay)


def planned_guide_weight(step: int, hparams: HParams) -> float:
    """Full until the anneal starts, then linearly to zero."""
    faded = (step - hparams.guide_anneal_start_step) / hparams.guide_anneal_steps
    return base_guide_weight(hparams) * min(1.0, max(0.0, 1.0 - faded))


def base_guide_weight(hparams: HParams) -> float:
    """What the guide weight's multiplier multiplies; a recipe without guidance starts with the multiplier at zero."""
    return hparams.guide_loss_weight or FALLBACK_GUIDE_WEIGHT
