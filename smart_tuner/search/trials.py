"""What is asked of a study's trials, and what they are asked to do again."""

from __future__ import annotations

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

CONTINUES, FOLLOWS, ATTEMPT, FAILED, WORKER = "continues", "follows", "attempt", "failed", "worker"
"""User attributes: the trial that it goes on with, the one it takes the place of, which attempt it is, what went wrong,
and who runs it."""
PLACE = "place"
"""The number in its folder's name, where that is not the number of the trial that it goes on with."""
MOST_ATTEMPTS = 3
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def first_number(trial: FrozenTrial) -> int:
    """Of the trial that it goes on with."""
    return int(trial.user_attrs.get(CONTINUES, trial.number))


def place_of(trial: FrozenTrial) -> int:
    """The number of the folder it lies in."""
    return int(trial.user_attrs.get(PLACE, first_number(trial)))


def put_back(study: Study, trial: FrozenTrial, *, was_killed: bool = True) -> None:
    """Have a trial that was cut short tried again, unless that is seen to or it has killed workers often enough."""
    attempt = _attempt(trial) + was_killed
    if attempt > MOST_ATTEMPTS or trial.number in _followed(study):
        return
    params = trial.system_attrs.get("fixed_params", {}) | trial.params  # of one that was killed before it could choose
    told = {CONTINUES: first_number(trial), PLACE: place_of(trial), FOLLOWS: trial.number, ATTEMPT: attempt}
    study.enqueue_trial(params, user_attrs=told)


def lost(study: Study) -> list[FrozenTrial]:
    """Trials that were cut short and that nobody has put back."""
    followed = _followed(study)
    return [t for t in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)) if not _is_over(t, followed)]


def done(study: Study) -> list[FrozenTrial]:
    """Those that nobody will try again, one of those that took each other's place."""
    followed = _followed(study)
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in FINISHED
        or (trial.state is TrialState.FAIL and trial.number not in followed and _is_over(trial, followed))
    ]


def _is_over(failed: FrozenTrial, followed: set[int]) -> bool:
    return failed.number in followed or FAILED in failed.user_attrs or _attempt(failed) >= MOST_ATTEMPTS


def _attempt(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(ATTEMPT, 1))


def _followed(study: Study) -> set[int]:
    return {t.user_attrs[FOLLOWS] for t in study.get_trials(deepcopy=False) if FOLLOWS in t.user_attrs}


def running(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def is_feasible(trial: FrozenTrial) -> bool:
    return all(value <= 0 for value in trial.constraints.values())


def best(study: Study) -> FrozenTrial | None:
    """Of those that ran to their end within the limits."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in complete if is_feasible(trial) and trial.value is not None]
    return max(feasible, key=lambda trial: (trial.value, -trial.number), default=None)
