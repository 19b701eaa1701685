"""Worker of a study: runs trials beside other workers, which may join, leave or be killed at any time."""

from __future__ import annotations

import contextlib
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

from files import is_disk_full
from hparams import UserError
from smart_tuner.search.storage import StudyStorage
from smart_tuner.search.storage_urls import STORAGE_ERRORS
from smart_tuner.search.study import StudyPlan, seed_sampler
from smart_tuner.search.trials import FAILURE, WORKER, finished_trials, lost_trials, requeue, running_trials

LOG = logging.getLogger("worker")
MAX_REASON_LENGTH = 500
WAIT_SECONDS = 1.0  # between looks at other workers' trials, which may have to be requeued
MAX_FAILURES = 3
"""Failures in a row of one worker after which the trials are not the cause."""


class TrialInterrupted(BaseException):
    """A person, a time limit or a full disk stopped the trial; it is not a failure, and is resumed later."""


class TrialTakenOver(BaseException):
    """Another worker has taken over a trial that this one was still running."""


class StudyWorker:
    """Runs trials until the study has the wanted number of them.

    It holds a file lock while it lives, so that others can tell a running trial from one of a dead worker.
    """

    def __init__(self, study: Study, plan: StudyPlan, storage: StudyStorage, folder: Path, *, n_trials: int) -> None:
        self._study, self._plan, self._storage, self._n_trials = study, plan, storage, n_trials
        self._folder, self._name = folder / "workers", uuid.uuid4().hex
        self._folder.mkdir(exist_ok=True)
        self._trial_lock = contextlib.ExitStack()
        self._n_failures, self._failure = 0, ""

    def run(self, run_trial: Callable[[Trial], float], is_over: Callable[[], bool]) -> None:
        """`run_trial` returns a score; no further trial starts once `is_over` returns true."""
        with FileLock(self._lock_path(self._name)):
            while not is_over():
                with self._storage.trial_lock():
                    self._requeue_lost_trials()
                n_finished = len(finished_trials(self._study))
                if n_finished >= self._n_trials:
                    return
                if n_finished + len(running_trials(self._study)) < self._n_trials:
                    self._run_next(run_trial)
                else:
                    time.sleep(WAIT_SECONDS)
        self._lock_path(self._name).unlink(missing_ok=True)

    def _run_next(self, run_trial: Callable[[Trial], float]) -> None:
        """Start the next trial under the lock, and release the lock as soon as the trial belongs to this worker."""

        def objective(trial: Trial) -> float:
            self._storage.record_heartbeat(trial._trial_id)
            trial.set_user_attr(WORKER, self._name)
            self._trial_lock.close()
            score = self._run(run_trial, trial)
            self._n_failures = 0
            return score

        with self._trial_lock:
            self._trial_lock.enter_context(self._storage.trial_lock())
            if len(finished_trials(self._study)) + len(running_trials(self._study)) >= self._n_trials:
                return  # another worker has started the last one
            seed_sampler(self._study, self._plan)
            with contextlib.suppress(TrialTakenOver):
                self._study.optimize(objective, n_trials=1, catch=(Exception,))
        if self._n_failures >= MAX_FAILURES:
            raise UserError(f"{MAX_FAILURES} trials in a row failed, the last one with {self._failure}")

    def _run(self, run_trial: Callable[[Trial], float], trial: Trial) -> float:
        """Run a trial, and sort its errors into pruned, interrupted, taken over and failed."""
        try:
            return run_trial(trial)
        except optuna.TrialPruned:
            self._n_failures = 0
            raise
        except TrialInterrupted:
            self._requeue(trial)
            raise
        except UpdateFinishedTrialError as error:  # this machine slept, and others believed the worker dead
            raise TrialTakenOver from error
        except STORAGE_ERRORS as error:
            raise TrialInterrupted(f"the storage cannot be reached any more ({type(error).__name__})") from error
        except Exception as error:
            if is_disk_full(error):
                self._requeue(trial)
                raise TrialInterrupted(f"{error}; free some disk space") from error
            self._record_failure(trial, error)
            raise

    def _requeue(self, trial: Trial) -> None:
        """If the storage cannot be written now, another worker will find the trial lost."""
        with contextlib.suppress(OSError, *STORAGE_ERRORS):
            requeue(self._study, self._study.get_trials(deepcopy=False)[trial.number], was_killed=False)
            self._study.tell(trial, state=TrialState.FAIL)

    def _record_failure(self, trial: Trial, error: Exception) -> None:
        LOG.error("trial %d failed", trial.number, exc_info=error)
        self._n_failures, self._failure = self._n_failures + 1, f"{type(error).__name__}: {error}"[:MAX_REASON_LENGTH]
        trial.set_user_attr(FAILURE, self._failure)

    def _requeue_lost_trials(self) -> None:
        """Mark trials of dead workers as failed and queue them again; the caller holds the trial lock."""
        if self._storage.has_heartbeats:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                optuna.storages.fail_stale_trials(self._study)
        for trial in running_trials(self._study):
            name = trial.user_attrs.get(WORKER)
            # Without a name, its worker died while it held the trial lock, which this worker holds now.
            if name is None or not (self._storage.has_heartbeats or self._is_alive(name)):
                self._study.tell(trial.number, state=TrialState.FAIL)
        for trial in lost_trials(self._study):
            requeue(self._study, trial)

    def _is_alive(self, name: str) -> bool:
        try:
            with FileLock(self._lock_path(name)).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _lock_path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
