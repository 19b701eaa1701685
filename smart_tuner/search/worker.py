"""One of the processes that run a study's trials; others may come and go, or be killed, at any time."""

from __future__ import annotations

import contextlib
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, Trial, TrialState

from smart_tuner.search.storage import StudyStorage
from smart_tuner.search.study import StudyPlan, reseed
from smart_tuner.search.trials import FAILED, WORKER, done, put_back, running

WAIT_SECONDS = 1.0  # for trials of others that may have to be taken over


class Interrupted(Exception):
    """A trial was cut short by the person or the time, and is to go on later."""


class Worker:
    """Runs trials until the study has as many as wanted.

    It holds a lock while it lives, so that others can tell a trial that runs from one that was left behind.
    """

    def __init__(self, study: Study, plan: StudyPlan, kept: StudyStorage, folder: Path, *, n_trials: int) -> None:
        self._study, self._plan, self._kept, self._n_trials = study, plan, kept, n_trials
        self._folder, self._name = folder / "workers", uuid.uuid4().hex
        self._folder.mkdir(exist_ok=True)
        self._asking = contextlib.ExitStack()

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
            trial.set_user_attr(WORKER, self._name)
            self._asking.close()
            try:
                return run(trial)
            except Interrupted:
                put_back(self._study, self._frozen(trial))
                raise
            except optuna.TrialPruned:
                raise
            except Exception as error:
                trial.set_user_attr(FAILED, f"{type(error).__name__}: {error}"[:500])
                raise

        with self._asking:
            self._asking.enter_context(self._kept.alone())
            if len(done(self._study)) + len(running(self._study)) >= self._n_trials:
                return  # another one was quicker
            reseed(self._study, self._plan)
            self._study.optimize(objective, n_trials=1)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[trial.number]

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
                put_back(self._study, trial)
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _is_alive(self, name: str) -> bool:
        try:
            with FileLock(self._lock_of(name)).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _lock_of(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
