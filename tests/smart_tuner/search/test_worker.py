"""Workers are killed at random moments: no finished trial is lost, and none is run to its end twice."""

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
from smart_tuner.search.trials import ATTEMPT, CONTINUES, FAILED, MOST_ATTEMPTS, best, done, put_back, running
from smart_tuner.search.worker import MOST_FAILURES, Interrupted, Worker
from tests.postgres_server import PostgresServer
from tests.smart_tuner.search.some_study import plan, storage, study
from tests.smart_tuner.search.worker_program import main
from tests.warm_start import WarmProcess

N_TRIALS, SECONDS = 16, 0.3


def started(folder: Path, url: str | None, n_trials: int = N_TRIALS, seconds: float = SECONDS) -> WarmProcess:
    return WarmProcess(main, folder, url, n_trials, seconds)


def ran(folder: Path) -> list[str]:
    path = folder / "ran.txt"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=["journal", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "journal":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


def test_killed_workers_lose_no_finished_trial_and_none_runs_twice_to_its_end(tmp_path: Path, url: str | None) -> None:
    by, folder = random.Random(5), tmp_path / "study"
    study(folder, url)
    workers = [started(folder, url) for _ in range(2)]
    kills = 0
    while any(worker.poll() is None for worker in workers):
        time.sleep(by.uniform(0.02, 0.2))
        if kills < 4 and len(ran(folder)) > 6 * kills:
            victim = by.randrange(2)
            if workers[victim].poll() is None:
                os.kill(workers[victim].pid, signal.SIGKILL)
                workers[victim].wait()
                kills += 1
                workers[victim] = started(folder, url)
    assert kills == 4
    assert [worker.returncode for worker in workers] == [0, 0]
    opened, _ = study(folder, url)
    finished = [trial for trial in done(opened) if trial.state is TrialState.COMPLETE]
    assert len(finished) == N_TRIALS and not running(opened)
    ended = Counter(line for line in ran(folder) if line.startswith("end "))
    assert len(ended) == N_TRIALS
    # at most what was killed after its last word and before the storage had it may have ended once more
    assert sum(ended.values()) <= N_TRIALS + kills
    assert Counter(trial.params["batch_size"] for trial in finished).total() == N_TRIALS
    assert len({trial.user_attrs.get(CONTINUES, trial.number) for trial in finished}) == N_TRIALS


def test_workers_join_and_leave_at_any_time(tmp_path: Path, url: str | None) -> None:
    folder = tmp_path / "study"
    study(folder, url)
    first = started(folder, url)
    while len(ran(folder)) < 3:
        time.sleep(0.05)
    others = [started(folder, url) for _ in range(2)]
    first.kill()
    first.wait()
    assert [other.wait(60) for other in others] == [0, 0]
    opened, _ = study(folder, url)
    assert len(done(opened)) == N_TRIALS


def test_a_worker_that_died_while_it_took_a_trial_on_is_missed(tmp_path: Path, url: str | None) -> None:
    folder = tmp_path / "study"
    opened, _ = study(folder, url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that nobody gives signs of life for it, which is the point
        opened.ask()
    assert started(folder, url, n_trials=2, seconds=0.1).wait(60) == 0
    assert [trial.state.name for trial in opened.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert opened.trials[1].user_attrs[CONTINUES] == 0


def alone(folder: Path, n_trials: int = 3) -> tuple[optuna.Study, Worker]:
    opened, kept = study(folder)
    return opened, Worker(opened, plan(), kept, folder, n_trials=n_trials)


def score(trial: Trial) -> float:
    return float(next(d.suggest(trial) for d in plan().space if d.name == "learning_rate"))


def test_the_recipe_as_it_is_comes_first(tmp_path: Path) -> None:
    opened, worker = alone(tmp_path)
    seen: list[dict[str, object]] = []

    def run(trial: Trial) -> float:
        seen.append({dimension.name: dimension.suggest(trial) for dimension in plan().space})
        return 0.5

    worker.work(run, lambda: False)
    assert seen[0] == plan().own_values
    assert len(seen) == 3 and seen[1] != seen[0]


def test_what_is_tried_is_a_function_of_the_seed_and_the_trials_before(tmp_path: Path) -> None:
    tried = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        opened, worker = alone(folder, n_trials=14)
        worker.work(score, lambda: False)
        tried.append([trial.params for trial in opened.trials])
    assert tried[0] == tried[1]
    assert len({trial["learning_rate"] for trial in tried[0]}) == 14


def test_studies_of_neighbouring_seeds_have_no_trial_in_common(tmp_path: Path) -> None:
    tried = []
    for seed in (1, 2):
        seeded = plan(recipe=HParams(seed=seed), sampler="random")
        kept = storage(tmp_path / str(seed))
        opened = open_study(seeded, kept)
        Worker(opened, seeded, kept, tmp_path / str(seed), n_trials=8).work(score, lambda: False)
        tried.append({trial.params["learning_rate"] for trial in opened.trials[1:]})
    assert len(tried[0]) == len(tried[1]) == 7 and not tried[0] & tried[1]


def test_an_interrupted_trial_waits_to_be_gone_on_with(tmp_path: Path) -> None:
    opened, worker = alone(tmp_path)

    def interrupted(trial: Trial) -> float:
        score(trial)
        raise Interrupted

    with pytest.raises(Interrupted):
        worker.work(interrupted, lambda: False)
    waiting = opened.get_trials(states=(TrialState.WAITING,))
    assert [trial.user_attrs[CONTINUES] for trial in waiting] == [0]
    _, successor = alone(tmp_path)
    successor.work(score, lambda: False)
    assert len(done(opened)) == 3
    assert opened.trials[1].params["learning_rate"] == plan().own_values["learning_rate"]


def test_a_trial_that_kills_its_worker_is_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    opened, _ = study(folder)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        worker = started(folder, None, n_trials=1, seconds=60)
        while ran(folder) != ["begin 0"] * attempt:
            time.sleep(0.05)
        worker.kill()
        worker.wait()
    _, last = alone(folder, n_trials=1)
    last.work(score, lambda: False)
    assert [trial.user_attrs.get(ATTEMPT, 1) for trial in opened.trials] == [1, 2, 3]
    assert len(done(opened)) == 1 and best(opened) is None


def test_what_breaks_in_a_trial_is_noted_and_the_others_go_on(tmp_path: Path) -> None:
    opened, worker = alone(tmp_path, n_trials=4)

    def sometimes_broken(trial: Trial) -> float:
        if trial.number in (0, 1, 3):
            raise ValueError("no good")
        return score(trial)

    worker.work(sometimes_broken, lambda: False)
    assert [trial.state.name for trial in opened.trials] == ["FAIL", "FAIL", "COMPLETE", "FAIL"]
    assert opened.trials[0].user_attrs[FAILED] == "ValueError: no good"
    assert len(done(opened)) == 4


def test_when_all_break_it_is_not_the_trials_fault(tmp_path: Path) -> None:
    opened, worker = alone(tmp_path, n_trials=20)

    def broken(trial: Trial) -> float:
        raise ValueError("no good")

    with pytest.raises(UserError, match="3 trials in a row failed, the last one with ValueError: no good"):
        worker.work(broken, lambda: False)
    assert len(opened.trials) == MOST_FAILURES


@pytest.mark.parametrize("in_storage", [False, True])
def test_a_full_disk_costs_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_storage: bool) -> None:
    opened, worker = alone(tmp_path, n_trials=1)
    full = OSError(errno.ENOSPC, "No space left on device")

    def no_room(*_: object) -> None:
        raise full

    def run(trial: Trial) -> float:
        score(trial)
        if in_storage:
            monkeypatch.setattr(JournalFileBackend, "append_logs", no_room)
            trial.report(0.5, 1)
        raise full

    with pytest.raises(Interrupted, match="No space left on device; make room"):
        worker.work(run, lambda: False)
    monkeypatch.undo()
    again, successor = alone(tmp_path, n_trials=1)
    successor.work(score, lambda: False)
    assert [trial.state.name for trial in again.trials] == ["FAIL", "COMPLETE"]
    assert again.trials[1].value == plan().own_values["learning_rate"]


def test_a_trial_that_another_worker_has_taken_over_is_left_to_it(tmp_path: Path) -> None:
    opened, worker = alone(tmp_path, n_trials=1)

    def slept_through(trial: Trial) -> float:
        value = score(trial)
        if trial.number == 0:
            put_back(opened, opened.trials[0])
            opened.tell(trial.number, state=TrialState.FAIL)
        trial.report(value, 1)
        return value

    worker.work(slept_through, lambda: False)
    assert [trial.state.name for trial in opened.trials] == ["FAIL", "COMPLETE"]


def test_while_a_trial_runs_another_may_be_taken_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    begun, met = threading.Event(), threading.Barrier(2, timeout=20)

    def meeting(trial: Trial) -> float:
        begun.set()
        met.wait()
        return 0.5

    def one() -> None:
        _, worker = alone(folder, n_trials=2)
        worker.work(meeting, lambda: False)

    first = threading.Thread(target=one)
    first.start()
    begun.wait(20)
    one()
    first.join(20)
    assert not first.is_alive()


def test_no_trial_begins_when_it_is_over(tmp_path: Path) -> None:
    opened, worker = alone(tmp_path)
    worker.work(score, lambda: True)
    assert not done(opened)
    assert not list((tmp_path / "workers").iterdir())
