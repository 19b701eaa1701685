"""Ends trials that lead nowhere: Hyperband, but not before attention could have formed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.pruners import BasePruner, HyperbandPruner

from smart_tuner.search.budget import Budget
from smart_tuner.search.trials import first_number

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class AfterAlignment(BasePruner):
    """Until attention has to have formed a score says nothing; the recipe as it is always runs to its end.

    Optuna's own PatientPruner waits for a trial that gets no better, which in training nearly all do.
    """

    def __init__(self, budget: Budget) -> None:
        self._first, self._last = budget.first_pruned, budget.evaluations
        self._hyperband = HyperbandPruner(min_resource=self._first, max_resource=max(self._first, budget.evaluations))

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None or not self._first <= trial.last_step < self._last:
            return False
        leads_nowhere = self._hyperband.prune(study, trial)  # which takes its score down for the others, too
        return leads_nowhere and first_number(trial) != 0
