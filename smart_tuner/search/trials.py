"""What is asked of a study's trials, and what they are asked to do again."""

from __future__ import annotations

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

CONTINUES, ATTEMPT, FAILED, WORKER = "continues", "attempt", "failed", "worker"
"""User attributes: which trial it goes on with, which attempt it is, what went wrong, and who runs it."""
MOST_ATTEMPTS = 3
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def first_number(trial: FrozenTrial) -> int:
    """Of the trial that it goes on with, in whose folder it lies."""
    return int(trial.user_attrs.get(CONTINUES, trial.number))


def put_back(study: Study, trial: FrozenTrial) -> None:
    """Have a trial that was cut short tried again; nothing when that is seen to or was tried often enough."""
    attempt = int(trial.user_attrs.get(ATTEMPT, 1)) + 1
    successor = {CONTINUES: first_number(trial), ATTEMPT: attempt}
    if attempt > MOST_ATTEMPTS or any(successor.items() <= t.user_attrs.items() for t in study.get_trials()):
        return
    study.enqueue_trial(trial.params, user_attrs=successor)


def is_done(trial: FrozenTrial) -> bool:
    """Whether nobody will try it again."""
    if trial.state is TrialState.FAIL:
        return FAILED in trial.user_attrs or int(trial.user_attrs.get(ATTEMPT, 1)) >= MOST_ATTEMPTS
    return trial.state in FINISHED


def done(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if is_done(trial)]


def running(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def is_feasible(trial: FrozenTrial) -> bool:
    return all(value <= 0 for value in trial.constraints.values())


def best(study: Study) -> FrozenTrial | None:
    """Of those that ran to their end within the limits."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in complete if is_feasible(trial) and trial.value is not None]
    return max(feasible, key=lambda trial: (trial.value, -trial.number), default=None)
