"""Trials of a study: queries, and queueing interrupted ones again."""

from __future__ import annotations

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

# Keys of user attributes of a trial, stored in the study.
FIRST_ATTEMPT = "continues"  # number of the trial that was the first attempt
REPLACES = "follows"  # number of the interrupted trial that this one replaces
ATTEMPT = "attempt"
FAILURE = "failed"  # the error that ended it
WORKER = "worker"
FOLDER_NUMBER = "place"  # the number in its folder's name, if that is not the first attempt's

MAX_ATTEMPTS = 3
ENDED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)


def first_attempt_number(trial: FrozenTrial) -> int:
    """Number of the trial that was the first attempt at these parameters."""
    return int(trial.user_attrs.get(FIRST_ATTEMPT, trial.number))


def folder_number(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(FOLDER_NUMBER, first_attempt_number(trial)))


def requeue(study: Study, trial: FrozenTrial, *, was_killed: bool = True) -> None:
    """Queue an interrupted trial again, unless it is queued already or has killed its workers too often."""
    attempt = _attempt(trial) + was_killed
    if attempt > MAX_ATTEMPTS or trial.number in _replaced_numbers(study):
        return
    params = trial.system_attrs.get("fixed_params", {}) | trial.params  # it may have been killed before it used them
    attributes = {
        FIRST_ATTEMPT: first_attempt_number(trial),
        FOLDER_NUMBER: folder_number(trial),
        REPLACES: trial.number,
        ATTEMPT: attempt,
    }
    study.enqueue_trial(params, user_attrs=attributes)


def lost_trials(study: Study) -> list[FrozenTrial]:
    """Interrupted trials that are not queued again."""
    replaced = _replaced_numbers(study)
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [trial for trial in failed if not _is_final(trial, replaced)]


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Trials that will not be tried again; of several attempts only the last."""
    replaced = _replaced_numbers(study)
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in ENDED_STATES
        or (trial.state is TrialState.FAIL and trial.number not in replaced and _is_final(trial, replaced))
    ]


def _is_final(failed: FrozenTrial, replaced: set[int]) -> bool:
    return failed.number in replaced or FAILURE in failed.user_attrs or _attempt(failed) >= MAX_ATTEMPTS


def _attempt(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(ATTEMPT, 1))


def _replaced_numbers(study: Study) -> set[int]:
    return {t.user_attrs[REPLACES] for t in study.get_trials(deepcopy=False) if REPLACES in t.user_attrs}


def running_trials(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether it is within all limits."""
    return all(value <= 0 for value in trial.constraints.values())


def find_best_trial(study: Study) -> FrozenTrial | None:
    """The complete trial with the highest score within the limits."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in complete if is_feasible(trial) and trial.value is not None]
    return max(feasible, key=lambda trial: (trial.value, -trial.number), default=None)
