"""Workers of a study, also with workers that are killed at random moments."""

from __future__ import annotations

import errno
import os
import random
import signal
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from hparams import HParams, UserError
from smart_tuner.search.study import open_study
from smart_tuner.search.trials import (
    ATTEMPT,
    FAILURE,
    FIRST_ATTEMPT,
    MAX_ATTEMPTS,
    find_best_trial,
    finished_trials,
    requeue,
    running_trials,
)
from smart_tuner.search.worker import MAX_FAILURES, StudyWorker, TrialInterrupted
from tests.smart_tuner.search.small_study import make_plan, make_storage, make_study
from tests.smart_tuner.search.worker_program import TRIAL_LOG, main
from tests.support.postgres_server import PostgresServer
from tests.support.warm_start import WarmProcess

N_TRIALS, SECONDS = 16, 0.3


def start_worker(folder: Path, url: str | None, n_trials: int = N_TRIALS, seconds: float = SECONDS) -> WarmProcess:
    return WarmProcess(main, folder, url, n_trials, seconds)


def read_log(folder: Path) -> list[str]:
    path = folder / TRIAL_LOG
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=["journal", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "journal":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


def test_killed_workers_lose_no_finished_trial_and_repeat_none(tmp_path: Path, url: str | None) -> None:
    rng, folder = random.Random(5), tmp_path / "study"
    make_study(folder, url)
    workers = [start_worker(folder, url) for _ in range(2)]
    kills = 0
    while any(worker.poll() is None for worker in workers):
        time.sleep(rng.uniform(0.02, 0.2))
        if kills < 4 and len(read_log(folder)) > 6 * kills:
            victim = rng.randrange(2)
            if workers[victim].poll() is None:
                os.kill(workers[victim].pid, signal.SIGKILL)
                workers[victim].wait()
                kills += 1
                workers[victim] = start_worker(folder, url)
    assert kills == 4
    assert [worker.returncode for worker in workers] == [0, 0]
    study, _ = make_study(folder, url)
    finished = [trial for trial in finished_trials(study) if trial.state is TrialState.COMPLETE]
    assert len(finished) == N_TRIALS and not running_trials(study)
    ended = Counter(line for line in read_log(folder) if line.startswith("end "))
    assert len(ended) == N_TRIALS
    # A trial whose worker was killed between its end and the storage of its result is run to its end again.
    assert sum(ended.values()) <= N_TRIALS + kills
    assert Counter(trial.params["batch_size"] for trial in finished).total() == N_TRIALS
    assert len({trial.user_attrs.get(FIRST_ATTEMPT, trial.number) for trial in finished}) == N_TRIALS


def test_workers_join_and_leave_at_any_time(tmp_path: Path, url: str | None) -> None:
    folder = tmp_path / "study"
    make_study(folder, url)
    first = start_worker(folder, url)
    while len(read_log(folder)) < 3:
        time.sleep(0.05)
    others = [start_worker(folder, url) for _ in range(2)]
    first.kill()
    first.wait()
    assert [other.wait(60) for other in others] == [0, 0]
    study, _ = make_study(folder, url)
    assert len(finished_trials(study)) == N_TRIALS


def test_a_trial_of_a_worker_that_died_while_starting_it_is_requeued(tmp_path: Path, url: str | None) -> None:
    folder = tmp_path / "study"
    study, _ = make_study(folder, url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no heartbeat is recorded for it, which is intended
        study.ask()
    assert start_worker(folder, url, n_trials=2, seconds=0.1).wait(60) == 0
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].user_attrs[FIRST_ATTEMPT] == 0


def single_worker(folder: Path, n_trials: int = 3) -> tuple[optuna.Study, StudyWorker]:
    study, storage = make_study(folder)
    return study, StudyWorker(study, make_plan(), storage, folder, n_trials=n_trials)


def score(trial: Trial) -> float:
    return float(next(d.suggest(trial) for d in make_plan().space if d.name == "learning_rate"))


def test_the_recipes_recipe_values_are_tried_first(tmp_path: Path) -> None:
    study, worker = single_worker(tmp_path)
    seen: list[dict[str, object]] = []

    def run(trial: Trial) -> float:
        seen.append({dimension.name: dimension.suggest(trial) for dimension in make_plan().space})
        return 0.5

    worker.run(run, lambda: False)
    assert seen[0] == make_plan().recipe_values
    assert len(seen) == 3 and seen[1] != seen[0]


def test_parameters_are_a_function_of_the_seed_and_earlier_trials(tmp_path: Path) -> None:
    params = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        study, worker = single_worker(folder, n_trials=14)
        worker.run(score, lambda: False)
        params.append([trial.params for trial in study.trials])
    assert params[0] == params[1]
    assert len({trial["learning_rate"] for trial in params[0]}) == 14


def test_studies_with_neighbouring_seeds_share_no_parameters(tmp_path: Path) -> None:
    params = []
    for seed in (1, 2):
        seeded = make_plan(recipe=HParams(seed=seed), sampler="random")
        storage = make_storage(tmp_path / str(seed))
        study = open_study(seeded, storage)
        StudyWorker(study, seeded, storage, tmp_path / str(seed), n_trials=8).run(score, lambda: False)
        params.append({trial.params["learning_rate"] for trial in study.trials[1:]})
    assert len(params[0]) == len(params[1]) == 7 and not params[0] & params[1]


def test_an_interrupted_trial_is_requeued(tmp_path: Path) -> None:
    study, worker = single_worker(tmp_path)

    def interrupted(trial: Trial) -> float:
        score(trial)
        raise TrialInterrupted

    with pytest.raises(TrialInterrupted):
        worker.run(interrupted, lambda: False)
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert [trial.user_attrs[FIRST_ATTEMPT] for trial in waiting] == [0]
    _, successor = single_worker(tmp_path)
    successor.run(score, lambda: False)
    assert len(finished_trials(study)) == 3
    assert study.trials[1].params["learning_rate"] == make_plan().recipe_values["learning_rate"]


def test_a_trial_that_kills_its_worker_is_given_up_after_three_attempts(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study, _ = make_study(folder)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        worker = start_worker(folder, None, n_trials=1, seconds=60)
        while read_log(folder) != ["start 0"] * attempt:
            time.sleep(0.05)
        worker.kill()
        worker.wait()
    _, last = single_worker(folder, n_trials=1)
    last.run(score, lambda: False)
    assert [trial.user_attrs.get(ATTEMPT, 1) for trial in study.trials] == [1, 2, 3]
    assert len(finished_trials(study)) == 1 and find_best_trial(study) is None


def test_a_failure_is_recorded_and_other_trials_continue(tmp_path: Path) -> None:
    study, worker = single_worker(tmp_path, n_trials=4)

    def sometimes_failing(trial: Trial) -> float:
        if trial.number in (0, 1, 3):
            raise ValueError("no good")
        return score(trial)

    worker.run(sometimes_failing, lambda: False)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "COMPLETE", "FAIL"]
    assert study.trials[0].user_attrs[FAILURE] == "ValueError: no good"
    assert len(finished_trials(study)) == 4


def test_three_failures_in_a_row_end_the_worker(tmp_path: Path) -> None:
    study, worker = single_worker(tmp_path, n_trials=20)

    def failing(trial: Trial) -> float:
        raise ValueError("no good")

    with pytest.raises(UserError, match="3 trials in a row failed, the last one with ValueError: no good"):
        worker.run(failing, lambda: False)
    assert len(study.trials) == MAX_FAILURES


@pytest.mark.parametrize("in_storage", [False, True])
def test_a_full_disk_interrupts_but_fails_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_storage: bool
) -> None:
    study, worker = single_worker(tmp_path, n_trials=1)
    full = OSError(errno.ENOSPC, "No space left on device")

    def raise_full(*_: object) -> None:
        raise full

    def run(trial: Trial) -> float:
        score(trial)
        if in_storage:
            monkeypatch.setattr(JournalFileBackend, "append_logs", raise_full)
            trial.report(0.5, 1)
        raise full

    with pytest.raises(TrialInterrupted, match="No space left on device; free some disk space"):
        worker.run(run, lambda: False)
    monkeypatch.undo()
    reopened, successor = single_worker(tmp_path, n_trials=1)
    successor.run(score, lambda: False)
    assert [trial.state.name for trial in reopened.trials] == ["FAIL", "COMPLETE"]
    assert reopened.trials[1].value == make_plan().recipe_values["learning_rate"]


def test_a_trial_taken_over_by_another_worker_is_left_to_it(tmp_path: Path) -> None:
    study, worker = single_worker(tmp_path, n_trials=1)

    def taken_over(trial: Trial) -> float:
        value = score(trial)
        if trial.number == 0:
            requeue(study, study.trials[0])
            study.tell(trial.number, state=TrialState.FAIL)
        trial.report(value, 1)
        return value

    worker.run(taken_over, lambda: False)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]


def test_two_workers_run_trials_at_the_same_time(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    is_running, both_running = threading.Event(), threading.Barrier(2, timeout=20)

    def wait_for_the_other(trial: Trial) -> float:
        is_running.set()
        both_running.wait()
        return 0.5

    def run_worker() -> None:
        _, worker = single_worker(folder, n_trials=2)
        worker.run(wait_for_the_other, lambda: False)

    first = threading.Thread(target=run_worker)
    first.start()
    is_running.wait(20)
    run_worker()
    first.join(20)
    assert not first.is_alive()


def test_no_trial_starts_when_the_study_is_over(tmp_path: Path) -> None:
    study, worker = single_worker(tmp_path)
    worker.run(score, lambda: True)
    assert not finished_trials(study)
    assert not list((tmp_path / "workers").iterdir())
