"""Pruner that ends bad trials by Hyperband, but not before attention can have formed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.pruners import BasePruner, HyperbandPruner

from smart_tuner.search.budget import TrialBudget
from smart_tuner.search.trials import first_attempt_number

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class AlignmentAwarePruner(BasePruner):
    """Hyperband from the evaluation on at which attention must have formed; the recipe's own trial is never pruned.

    Optuna's PatientPruner would wait as long as a trial improves, which nearly every training does.
    """

    def __init__(self, budget: TrialBudget) -> None:
        self._first, self._last = budget.first_pruned, budget.evaluations
        self._hyperband = HyperbandPruner(min_resource=self._first, max_resource=max(self._first, budget.evaluations))

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None or not self._first <= trial.last_step < self._last:
            return False
        is_pruned = self._hyperband.prune(study, trial)  # also records the score that others are compared with
        return is_pruned and first_attempt_number(trial) != 0
