"""Length of a trial, and the recipe adapted to so short a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hparams import HParams, build_hparams
from smart_tuner.search.settings import SearchSettings

LENGTH_IN_PATIENCES = 5 / 3
START_EVALUATIONS = 2  # length of a trial that starts from a checkpoint


@dataclass(frozen=True)
class TrialBudget:
    """Steps at the recipe's batch size; with another batch size, a trial sees as many utterances in other steps."""

    steps: int
    full_steps: int  # of the whole training
    evaluations: int
    first_pruned: int  # number of the evaluation at which attention must have formed
    from_step: int = 0  # of the checkpoint that all trials start from

    def steps_of(self, recipe: HParams, trial_recipe: HParams) -> int:
        """Steps of a trial with its own batch size."""
        return max(self.evaluations, round(self.steps * recipe.batch_size / trial_recipe.batch_size))

    def evaluation_at(self, step: int, last_step: int) -> int:
        """Number of the evaluation at a step, from 1."""
        return round(self.evaluations * (step - self.from_step) / (last_step - self.from_step))


def plan_budget(settings: SearchSettings, recipe: HParams, *, full_steps: int, from_step: int | None) -> TrialBudget:
    if from_step is not None:
        steps = settings.fork_steps or START_EVALUATIONS * recipe.iters_per_evaluation
        return TrialBudget(steps, full_steps, min(settings.evaluations, steps), settings.evaluations, from_step)
    steps = settings.trial_steps or round(LENGTH_IN_PATIENCES * recipe.alignment_patience_steps)
    steps = min(steps, full_steps)
    evaluations = min(settings.evaluations, steps)
    first_pruned = -(-recipe.alignment_patience_steps * evaluations // steps)  # rounded up
    return TrialBudget(steps, full_steps, evaluations, min(first_pruned, evaluations))


def full_recipe(recipe: HParams, params: Mapping[str, Any]) -> HParams:
    """The recipe with a trial's parameters; the learning rate decays after the same number of utterances."""
    changed = build_hparams(recipe.model_dump(), dict(params))
    return _with_scaled_decay(changed, recipe.batch_size / changed.batch_size)


def trial_recipe(recipe: HParams, params: Mapping[str, Any], budget: TrialBudget) -> HParams:
    """The recipe of a trial: the learning rate decays as far as in the whole training, attention gets its full time.

    From a checkpoint, all schedules continue unchanged.
    """
    changed = full_recipe(recipe, params)
    interval = max(1, budget.steps_of(recipe, changed) // budget.evaluations)
    if not budget.from_step:
        changed = _with_scaled_decay(changed, budget.steps / budget.full_steps)
    changes = {"iters_per_evaluation": interval, "iters_per_checkpoint": interval, "keep_checkpoints": 1}
    changes |= {"evaluation_samples": 1}
    if budget.from_step:  # the recipe's epochs may be over
        changes["epochs"] = changed.epochs + budget.steps
    return build_hparams(changed.model_dump(), changes)


def _with_scaled_decay(recipe: HParams, factor: float) -> HParams:
    if factor == 1.0:
        return recipe
    start, half_life = recipe.decay_start_step * factor, recipe.decay_half_life_steps * factor
    changes = {"decay_start_step": round(start), "decay_half_life_steps": max(1, round(half_life))}
    return build_hparams(recipe.model_dump(), changes)
