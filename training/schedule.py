"""Learning rate and guide weight that the recipe plans for each step; knobs multiply them, phases modify them."""

from __future__ import annotations

from dataclasses import dataclass

from hparams import HParams

FALLBACK_GUIDE_WEIGHT = 10.0
"""Base for the guide weight's multiplier in a recipe without guidance, for when the run turns out to need some."""


@dataclass(frozen=True)
class PhasePlan:
    """Changes that a phase makes to the schedules: factors, and whether to stay before their late part."""

    learning_rate_share: float = 1.0
    grad_clip_share: float = 1.0
    guide_weight_share: float = 1.0
    guide_sigma_share: float = 1.0
    hold_schedules: float = 0.0


RECIPE_PLAN = PhasePlan()


@dataclass(frozen=True)
class PlanStretch:
    """Pace of the schedules from a step on, where the plan turned out longer or shorter than they are."""

    from_step: int = 0
    pace: float = 1.0  # steps of the schedules for each training step
    lead: float = 0.0  # steps by which the schedules are ahead of the training from there on, by an earlier stretch

    def planned_step(self, step: int) -> float:
        if step < self.from_step or (self.pace == 1.0 and not self.lead):
            return step
        return self.from_step + self.lead + self.pace * (step - self.from_step)

    def training_steps(self, schedule_steps: int) -> int:
        """Training steps that so many steps of the schedules take from there on."""
        return max(1, round(schedule_steps / self.pace)) if self.pace else schedule_steps


NO_STRETCH = PlanStretch()


@dataclass
class ScheduleClock:
    """Maps training steps to steps of the schedules: a restart sets them to zero, holding stops them."""

    origin_step: int = 0
    held_steps: float = 0
    warm_from_step: int = 0
    warm_steps: int = 0

    def schedule_step(self, step: int, stretch: PlanStretch = NO_STRETCH) -> float:
        return stretch.planned_step(step) - stretch.planned_step(self.origin_step) - self.held_steps

    def hold(self, step: int, hparams: HParams, stretch: PlanStretch = NO_STRETCH) -> None:
        """Stay before the late part of the schedules (decay and fading guidance); return to there if it has begun."""
        late = min(hparams.guide_anneal_start_step, hparams.decay_start_step)
        last_early_step = max(1, hparams.warmup_steps, 0 if hparams.learning_rate_schedule == "noam" else late)
        self.held_steps += max(0, self.schedule_step(step, stretch) - last_early_step)

    def warmup_factor(self, step: int) -> float:
        """Factor on the learning rate while warming up again after the optimizer's moments were reset."""
        return min(1.0, (step - self.warm_from_step) / self.warm_steps) if self.warm_steps else 1.0


def planned_learning_rate(step: float, hparams: HParams) -> float:
    """Linear warm-up to the peak, then decay by the chosen schedule down to the floor; steps count from 1."""
    warmup = min(1.0, step / hparams.warmup_steps) if hparams.warmup_steps else 1.0
    if hparams.learning_rate_schedule == "noam":
        decay = min(1.0, max(1, hparams.warmup_steps) / step) ** 0.5
    else:
        decay = 0.5 ** (max(0, step - hparams.decay_start_step) / hparams.decay_half_life_steps)
    return hparams.learning_rate * warmup * max(hparams.learning_rate_floor, decay)


def planned_guide_weight(step: float, hparams: HParams) -> float:
    """Constant until the anneal starts, then linear to zero."""
    annealed = (step - hparams.guide_anneal_start_step) / hparams.guide_anneal_steps
    return base_guide_weight(hparams) * min(1.0, max(0.0, 1.0 - annealed))


def base_guide_weight(hparams: HParams) -> float:
    """Guide weight at a multiplier of 1; a recipe without guidance starts with a multiplier of 0."""
    return hparams.guide_loss_weight or FALLBACK_GUIDE_WEIGHT
