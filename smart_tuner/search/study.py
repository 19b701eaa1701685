"""A study: what it searches, opened by whoever joins it, and the questions asked of its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna
from optuna import Study

from hparams import HParams, UserError, build_hparams
from smart_tuner.search.budget import Budget
from smart_tuner.search.pruner import AfterAlignment
from smart_tuner.search.space import Dimension
from smart_tuner.search.storage import StudyStorage

PLAN, BORN = "plan", "born"
"""User attributes of a study: what it searches, and when it was begun."""

WHAT_IS_COMPARED = {
    "corpus": "corpus",
    "budget": "length of trials",
    "space": "search space",
    "recipe": "recipe",
    "weights": "--warm_start or --resume",
}
"""Parts of a plan, and what a person calls them."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # what is worth saying is said by us


@dataclass(frozen=True)
class StudyPlan:
    """What makes two studies the same; with another plan their scores could not be compared."""

    name: str
    recipe: HParams
    space: tuple[Dimension, ...]
    budget: Budget
    corpus: str  # fingerprint of its utterances
    prune: bool
    sampler: str = "tpe"
    weights: str | None = None  # checksum of the file that trials begin with

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "space": {dimension.name: dimension.as_json() for dimension in self.space},
            "budget": asdict(self.budget),
            "corpus": self.corpus,
            "weights": self.weights,
        }

    @property
    def own_values(self) -> dict[str, Any]:
        return {dimension.name: getattr(self.recipe, dimension.name) for dimension in self.space}


def open_study(
    plan: StudyPlan, kept: StudyStorage, known_good: Sequence[Mapping[str, Any]] = (), *, is_new: bool = False
) -> Study:
    """Join the study or, where it may be new only, begin it: with the recipe as it is, then with earlier good ones."""
    with kept.alone():
        if is_new and plan.name in optuna.get_all_study_names(kept.storage):
            raise UserError(f"study {plan.name!r} exists already; choose another --run_name, or --resume auto to go on")
        study = optuna.create_study(
            storage=kept.storage,
            study_name=plan.name,
            direction="maximize",
            load_if_exists=True,
            pruner=AfterAlignment(plan.budget) if plan.prune else optuna.pruners.NopPruner(),
        )
        if BORN not in study.user_attrs:
            study.set_user_attr(BORN, datetime.now(UTC).isoformat())
        if PLAN not in study.user_attrs:
            if not study.get_trials(deepcopy=False):
                for params in (plan.own_values, *(given for given in known_good if given != plan.own_values)):
                    study.enqueue_trial(dict(params))
            study.set_user_attr(PLAN, plan.as_json())
    _require_same(plan, study.user_attrs[PLAN])
    return study


def reseed(study: Study, plan: StudyPlan) -> None:
    """What is tried next is a function of the recipe's seed and the trials so far, whoever asks."""
    mixed = np.random.SeedSequence([plan.recipe.seed, len(study.get_trials(deepcopy=False))])
    seed = int(mixed.generate_state(1)[0])  # a sum would give the next seed the same trials, one place further on
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study.sampler = samplers[plan.sampler](seed=seed)


def _require_same(plan: StudyPlan, kept: Mapping[str, Any]) -> None:
    own = plan.as_json()
    kept = {**kept, "recipe": build_hparams(kept["recipe"]).model_dump(mode="json")}  # settings may have come since
    for part, what in WHAT_IS_COMPARED.items():
        if own[part] == kept.get(part, own[part]):
            continue
        named = ""
        if isinstance(own[part], dict):
            changed = sorted(k for k in own[part].keys() | kept[part].keys() if own[part].get(k) != kept[part].get(k))
            named = f" ({', '.join(changed)})"
        raise UserError(
            f"study {plan.name!r} has another {what}{named}; give the same again, or begin a new one with --run_name"
        )
