"""A study: its plan, and opening it by every process that takes part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna
from optuna import Study

from hparams import HParams, UserError, build_hparams
from smart_tuner.search.budget import TrialBudget
from smart_tuner.search.dimensions import Dimension
from smart_tuner.search.pruner import AlignmentAwarePruner
from smart_tuner.search.storage import StudyStorage

# Keys of user attributes of a study, stored in it.
PLAN = "plan"
CREATED = "born"

COMPARED_PARTS = {
    "corpus": "corpus",
    "budget": "length of trials",
    "space": "search space",
    "recipe": "recipe",
    "weights": "--warm_start or --resume",
}
"""Parts of a plan that must not change, and their names in messages."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # progress is printed by --mode tune


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """Inputs of a study; scores of studies with different plans are not comparable."""

    name: str
    recipe: HParams
    space: tuple[Dimension, ...]
    budget: TrialBudget
    corpus: str  # fingerprint of its utterances
    prune: bool
    sampler: str = "tpe"
    weights: str | None = None  # checksum of the file that trials start from

    def as_json(self) -> dict[str, Any]:
        budget = asdict(self.budget)
        budget["course_steps"] = budget.pop("full_steps")  # the key in stored studies
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "space": {dimension.name: dimension.as_json() for dimension in self.space},
            "budget": budget,
            "corpus": self.corpus,
            "weights": self.weights,
        }

    @property
    def recipe_values(self) -> dict[str, Any]:
        """The recipe's own values of the searched settings."""
        return {dimension.name: getattr(self.recipe, dimension.name) for dimension in self.space}


def open_study(
    plan: StudyPlan, storage: StudyStorage, good_params: Sequence[Mapping[str, Any]] = (), *, must_be_new: bool = False
) -> Study:
    """Create or join the study; a new one starts with the recipe's own values, then those known to be good."""
    with storage.trial_lock():
        if must_be_new and plan.name in optuna.get_all_study_names(storage.backend):
            raise UserError(
                f"study {plan.name!r} exists already; choose another --run_name, or --resume auto to continue"
            )
        study = optuna.create_study(
            storage=storage.backend,
            study_name=plan.name,
            direction="maximize",
            load_if_exists=True,
            pruner=AlignmentAwarePruner(plan.budget) if plan.prune else optuna.pruners.NopPruner(),
        )
        if CREATED not in study.user_attrs:
            study.set_user_attr(CREATED, datetime.now(UTC).isoformat())
        if PLAN not in study.user_attrs:
            if not study.get_trials(deepcopy=False):
                for params in (plan.recipe_values, *(p for p in good_params if p != plan.recipe_values)):
                    study.enqueue_trial(dict(params))
            study.set_user_attr(PLAN, plan.as_json())
    _require_same_plan(plan, study.user_attrs[PLAN])
    return study


def seed_sampler(study: Study, plan: StudyPlan) -> None:
    """Make the next parameters a function of the recipe's seed and the number of trials, whichever worker asks."""
    # With the sum of both, a study with the next seed would try the same parameters one trial later.
    mixed = np.random.SeedSequence([plan.recipe.seed, len(study.get_trials(deepcopy=False))])
    seed = int(mixed.generate_state(1)[0])
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study.sampler = samplers[plan.sampler](seed=seed)


def _require_same_plan(plan: StudyPlan, stored: Mapping[str, Any]) -> None:
    own = plan.as_json()
    stored = {**stored, "recipe": build_hparams(stored["recipe"]).model_dump(mode="json")}  # adds new settings
    for part, name in COMPARED_PARTS.items():
        if own[part] == stored.get(part, own[part]):
            continue
        details = ""
        if isinstance(own[part], dict):
            keys = own[part].keys() | stored[part].keys()
            details = f" ({', '.join(sorted(k for k in keys if own[part].get(k) != stored[part].get(k)))})"
        raise UserError(
            f"study {plan.name!r} has another {name}{details}; give the same again, or begin a new one with --run_name"
        )
