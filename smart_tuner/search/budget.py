"""How long a trial is, and the recipe of so short a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hparams import HParams, build_hparams
from smart_tuner.search.settings import SearchSettings

LENGTH_IN_PATIENCES = 5 / 3
FORK_EVALUATIONS = 2


@dataclass(frozen=True)
class Budget:
    """Steps are those at the recipe's batch size: with another one a trial sees as many utterances."""

    steps: int
    course_steps: int  # of the whole training
    evaluations: int
    first_pruned: int  # the evaluation at which attention has to have formed
    from_step: int = 0  # of the checkpoint that all trials begin with

    def steps_of(self, recipe: HParams, tried: HParams) -> int:
        return max(self.evaluations, round(self.steps * recipe.batch_size / tried.batch_size))

    def evaluation_at(self, step: int, last_step: int) -> int:
        """Which of the evaluations is due at this step."""
        return round(self.evaluations * (step - self.from_step) / (last_step - self.from_step))


def plan_budget(settings: SearchSettings, recipe: HParams, *, course_steps: int, from_step: int | None) -> Budget:
    if from_step is not None:
        steps = settings.fork_steps or FORK_EVALUATIONS * recipe.iters_per_evaluation
        return Budget(steps, course_steps, min(settings.evaluations, steps), settings.evaluations, from_step)
    steps = settings.trial_steps or round(LENGTH_IN_PATIENCES * recipe.alignment_patience_steps)
    steps = min(steps, course_steps)
    evaluations = min(settings.evaluations, steps)
    first = -(-recipe.alignment_patience_steps * evaluations // steps)
    return Budget(steps, course_steps, evaluations, min(first, evaluations))


def whole_recipe(recipe: HParams, params: Mapping[str, Any]) -> HParams:
    """With these settings; when batches are of another size, the learning rate falls after as many utterances."""
    tried = build_hparams(recipe.model_dump(), dict(params))
    return _with_decay(tried, recipe.batch_size / tried.batch_size)


def trial_recipe(recipe: HParams, params: Mapping[str, Any], budget: Budget) -> HParams:
    """In a trial the learning rate falls as far as in the whole training, and what attention needs takes its time.

    From a checkpoint all schedules go on.
    """
    tried = whole_recipe(recipe, params)
    every = max(1, budget.steps_of(recipe, tried) // budget.evaluations)
    if not budget.from_step:
        tried = _with_decay(tried, budget.steps / budget.course_steps)
    changes = {"iters_per_evaluation": every, "iters_per_checkpoint": every, "keep_checkpoints": 1}
    changes |= {"evaluation_samples": 1}
    if budget.from_step:  # its own epochs may be over
        changes["epochs"] = tried.epochs + budget.steps
    return build_hparams(tried.model_dump(), changes)


def _with_decay(recipe: HParams, factor: float) -> HParams:
    if factor == 1.0:
        return recipe
    start, half_life = recipe.decay_start_step * factor, recipe.decay_half_life_steps * factor
    changes = {"decay_start_step": round(start), "decay_half_life_steps": max(1, round(half_life))}
    return build_hparams(recipe.model_dump(), changes)
