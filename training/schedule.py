"""What the recipe plans for each step; the knobs multiply it."""

from __future__ import annotations

from hparams import HParams


def planned_learning_rate(step: int, hparams: HParams) -> float:
    """Linear warm-up to the peak, constant, then halving every half-life down to the floor; steps count from 1."""
    warmth = min(1.0, step / hparams.warmup_steps) if hparams.warmup_steps else 1.0
    halvings = max(0, step - hparams.decay_start_step) / hparams.decay_half_life_steps
    return hparams.learning_rate * warmth * max(hparams.learning_rate_floor, 0.5**halvings)


def planned_guide_weight(step: int, hparams: HParams) -> float:
    """Full until the anneal starts, then linearly to zero."""
    faded = (step - hparams.guide_anneal_start_step) / hparams.guide_anneal_steps
    return hparams.guide_loss_weight * min(1.0, max(0.0, 1.0 - faded))
