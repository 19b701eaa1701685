"""One of the processes that run a study's trials; others may come and go, or be killed, at any time."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna import Study
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from hparams import UserError
from smart_tuner.search.storage import STORAGE_ERRORS, StudyStorage
from smart_tuner.search.study import StudyPlan, reseed
from smart_tuner.search.trials import FAILED, WORKER, done, lost, put_back, running

LOG = logging.getLogger("worker")
LONGEST_REASON = 500
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
WAIT_SECONDS = 1.0  # for trials of others that may have to be taken over
MOST_FAILURES = 3
"""In a row, of this worker: then it is not the trials' fault."""


class Interrupted(BaseException):
    """A trial was cut short by a person, the time or a full disk, and is to go on later; it has not failed."""


class TakenOver(BaseException):
    """Another worker has gone on with a trial that this one still had."""


class Worker:
    """Runs trials until the study has as many as wanted.

    It holds a lock while it lives, so that others can tell a trial that runs from one that was left behind.
    """

    def __init__(self, study: Study, plan: StudyPlan, kept: StudyStorage, folder: Path, *, n_trials: int) -> None:
        self._study, self._plan, self._kept, self._n_trials = study, plan, kept, n_trials
        self._folder, self._name = folder / "workers", uuid.uuid4().hex
        self._folder.mkdir(exist_ok=True)
        self._asking = contextlib.ExitStack()
        self._failures, self._failure = 0, ""

    def work(self, run: Callable[[Trial], float], is_over: Callable[[], bool]) -> None:
        """`run` returns a trial's score; `is_over` says that no other trial is to begin."""
        with FileLock(self._lock_of(self._name)):
            while not is_over():
                with self._kept.alone():
                    self.recover()
                n_done = len(done(self._study))
                if n_done >= self._n_trials:
                    return
                if n_done + len(running(self._study)) < self._n_trials:
                    self._run_one(run)
                else:
                    time.sleep(WAIT_SECONDS)
        self._lock_of(self._name).unlink(missing_ok=True)

    def _run_one(self, run: Callable[[Trial], float]) -> None:
        """Only one process at a time takes on a trial; once it is ours the others may."""

        def objective(trial: Trial) -> float:
            self._kept.beat(trial._trial_id)
            trial.set_user_attr(WORKER, self._name)
            self._asking.close()
            try:
                score = run(trial)
            except optuna.TrialPruned:
                self._failures = 0
                raise
            except Interrupted:
                self._put_back(trial)
                raise
            except UpdateFinishedTrialError as error:  # while this machine slept it was taken for dead
                raise TakenOver from error
            except STORAGE_ERRORS as error:
                raise Interrupted(f"the storage cannot be reached any more ({type(error).__name__})") from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno in NO_SPACE:
                    self._put_back(trial)
                    raise Interrupted(f"{error}; make room") from error
                self._note_failure(trial, error)
                raise
            self._failures = 0
            return score

        with self._asking:
            self._asking.enter_context(self._kept.alone())
            if len(done(self._study)) + len(running(self._study)) >= self._n_trials:
                return  # another one was quicker
            reseed(self._study, self._plan)
            with contextlib.suppress(TakenOver):
                self._study.optimize(objective, n_trials=1, catch=(Exception,))
        if self._failures >= MOST_FAILURES:
            raise UserError(f"{MOST_FAILURES} trials in a row failed, the last one with {self._failure}")

    def _put_back(self, trial: Trial) -> None:
        """If the storage cannot be told now, others find out."""
        with contextlib.suppress(OSError, *STORAGE_ERRORS):
            put_back(self._study, self._study.get_trials(deepcopy=False)[trial.number], was_killed=False)
            self._study.tell(trial, state=TrialState.FAIL)

    def _note_failure(self, trial: Trial, error: Exception) -> None:
        LOG.error("trial %d failed", trial.number, exc_info=error)
        self._failures, self._failure = self._failures + 1, f"{type(error).__name__}: {error}"[:LONGEST_REASON]
        trial.set_user_attr(FAILED, self._failure)

    def recover(self) -> None:
        """Have the trials of workers that are gone tried again; only while no other takes one on."""
        if self._kept.knows_the_dead:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                optuna.storages.fail_stale_trials(self._study)
        for trial in running(self._study):
            name = trial.user_attrs.get(WORKER)
            # without a name it died while it took the trial on: nobody else can be doing that now
            if name is None or not (self._kept.knows_the_dead or self._is_alive(name)):
                self._study.tell(trial.number, state=TrialState.FAIL)
        for trial in lost(self._study):
            put_back(self._study, trial)

    def _is_alive(self, name: str) -> bool:
        try:
            with FileLock(self._lock_of(name)).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _lock_of(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
