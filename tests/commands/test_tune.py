from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import soundfile
import yaml
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from commands.process.crash_report import newest_checkpoint_step
from smart_tuner.search.trials import FAILURE, FIRST_ATTEMPT, finished_trials, running_trials
from tests.commands.search.studies import NAME, SEARCH, kinds, settings, start_study, study_in, tune
from tests.support.postgres_server import PostgresServer
from tests.support.program import Program, contents, journal, newest, summary, tiny, wait_for
from tests.support.warm_start import WarmProcess

of_the_finished_study = pytest.mark.xdist_group("the finished study")


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder with a finished study of three trials by two workers; tests must not write into it."""
    output = tmp_path_factory.mktemp("studies")
    (output / "out.txt").write_text(succeed(start_study(output, data, "--workers", 2)))
    return output


@pytest.fixture
def launch() -> Iterator[Callable[..., WarmProcess]]:
    """Function that starts studies; those still running at the end of the test are killed."""
    processes: list[WarmProcess] = []

    def start(*arguments: Any, **changes: Any) -> WarmProcess:
        processes.append(start_study(*arguments, **changes))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


Launch = Callable[..., WarmProcess]


def succeed(process: WarmProcess) -> str:
    """Wait for the end of a study, check its exit code, and return its output."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    return out


def wait_for_step(step: int, output: Path, process: WarmProcess) -> Path:
    """Wait until the first trial has saved this step; return the trial's folder."""
    trial = output / NAME / "trials" / "trial-00000"
    wait_for(lambda: (newest_checkpoint_step(trial) or 0) >= step, process)
    return trial


@of_the_finished_study
def test_it_prints_how_to_watch_each_trial_and_the_train_command(finished: Path) -> None:
    out = (finished / "out.txt").read_text()
    folder = finished / NAME
    assert f"optuna-dashboard {folder}/study.journal --artifact-dir {folder}/artifacts" in out
    assert all(f"trial {number}: " in out for number in range(3))
    assert f"--mode train --hparams_file {folder}/best_hparams.yaml" in out


@of_the_finished_study
def test_trial_0_has_the_unchanged_recipe(finished: Path) -> None:
    trials = study_in(finished).trials
    assert trials[0].params == {"learning_rate": 1e-4, "decoder_rnn_dim": 16}
    assert trials[1].params != trials[0].params
    assert [trial.state for trial in trials].count(TrialState.COMPLETE) >= 1


@of_the_finished_study
def test_every_trial_is_a_complete_run_without_an_estimate(finished: Path) -> None:
    for number in range(3):
        run = finished / NAME / "trials" / f"trial-{number:05d}"
        assert summary(run)["status"] == "finished"
        assert (run / "report.html").is_file() and list((run / "tensorboard").iterdir())
        start = journal(run, "started")[0]
        assert start["supervision"]["mode"] == "on"
        actions = start["supervision"]["facts"]["actions"]
        assert "restart" not in actions and "race" not in actions and "quarantine" in actions
        assert "learning_rate_multiplier" in start["choices"]["pinned"]
        assert start["forecast_seconds"] is None and start["weights"] > 0
        assert not (run / "checkpoints").exists()


@of_the_finished_study
def test_every_evaluation_is_reported_and_the_best_is_the_score(finished: Path) -> None:
    for trial in study_in(finished).trials:
        run = finished / NAME / "trials" / f"trial-{trial.number:05d}"
        scores = [record["signals"]["composite_tts_score"] for record in journal(run, "evaluation")]
        assert list(trial.intermediate_values.values()) == scores
        if trial.state is TrialState.COMPLETE:
            assert trial.value == max(scores) and len(scores) == 3
        assert trial.constraints.keys() == {"gradient_norm", "nonfinite_share"}
        assert trial.user_attrs["signals"]["composite_tts_score"] == max(scores)


@of_the_finished_study
def test_the_dashboard_has_picture_sound_and_note_of_each_trial(finished: Path) -> None:
    study = study_in(finished)
    for trial in study.trials:
        artifacts = {meta.mimetype: meta for meta in get_all_artifact_meta(trial, storage=study._storage)}
        assert set(artifacts) == {"image/png", "audio/x-wav"}
        sound, rate = soundfile.read(finished / NAME / "artifacts" / artifacts["audio/x-wav"].artifact_id)
        assert len(sound) > 0 and rate == 22050
        (note,) = [
            value
            for name, value in study._storage.get_study_system_attrs(study._study_id).items()
            if name.startswith(f"dashboard:{trial._trial_id}:note_str:")
        ]
        assert "composite_tts_score" in note


@of_the_finished_study
def test_the_best_settings_train_a_voice(finished: Path, data: Path, program: Program) -> None:
    file = finished / NAME / "best_hparams.yaml"
    best = study_in(finished).best_trial.params
    outcome = program("--data", data, "--run_name", "run", "--hparams_file", file, "--max_steps", 2)
    assert outcome.code == 0, outcome.err
    hparams = journal(program.output / "run", "started")[0]["hparams"]
    assert {name: hparams[name] for name in best} == best
    assert hparams["attention_dim"] == 8  # given to the study with --hparams


@of_the_finished_study
def test_report_and_pictures_are_written(finished: Path) -> None:
    page = (finished / NAME / "report.html").read_text()
    assert "trial 0: " in page and "unchanged recipe" in page and "data:audio/mpeg" in page
    assert (finished / NAME / "history.png").read_bytes().startswith(b"\x89PNG")


@of_the_finished_study
def test_only_the_best_trial_keeps_its_voice(finished: Path) -> None:
    best = study_in(finished).best_trial.number
    voices = list((finished / NAME / "trials").glob("*/voice.safetensors"))
    assert [voice.parent.name for voice in voices] == [f"trial-{best:05d}"]


@of_the_finished_study
def test_a_finished_study_continues_with_more_trials(finished: Path, data: Path, program: Program) -> None:
    shutil.copytree(finished, program.output)
    again = tune(program, data)
    assert again.code == 0 and "trial 0: " not in again.out and "Best of 3 trials" in again.out
    more = tune(program, data, n_trials=4)
    assert more.code == 0 and "trial 3: " in more.out
    assert len(finished_trials(study_in(program.output))) == 4


def test_ctrl_c_keeps_finished_trials_for_the_same_command(data: Path, tmp_path: Path, launch: Launch) -> None:
    output = tmp_path / "logs"
    process = launch(output, data, trial_steps=80, evaluations=4)
    first = wait_for_step(12, output, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "the same command continues the study" in out and err == ""
    waiting = study_in(output).get_trials(states=(TrialState.WAITING,))
    assert [trial.user_attrs[FIRST_ATTEMPT] for trial in waiting] == [0]
    succeed(launch(output, data, trial_steps=80, evaluations=4, n_trials=1))
    assert kinds(first).count("started") == 1 and kinds(first).count("resumed") == 1
    assert len(finished_trials(study_in(output))) == 1


def children_of(process: WarmProcess) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children()]


def test_a_killed_worker_is_replaced_and_its_trial_resumes(data: Path, tmp_path: Path, launch: Launch) -> None:
    output = tmp_path / "logs"
    process = launch(output, data, trial_steps=80, evaluations=4, n_trials=1)
    first = wait_for_step(12, output, process)
    (worker,) = children_of(process)
    os.kill(worker, signal.SIGKILL)
    succeed(process)
    resumed = journal(first, "resumed")
    assert len(resumed) == 1 and resumed[0]["step"] >= 12
    trials = study_in(output).trials
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE"]
    assert len(trials[1].intermediate_values) == 4  # including those before the kill


def test_workers_save_and_end_when_their_parent_is_killed(data: Path, tmp_path: Path, launch: Launch) -> None:
    output = tmp_path / "logs"
    process = launch(output, data, trial_steps=80, evaluations=4)
    first = wait_for_step(12, output, process)
    (worker,) = children_of(process)
    process.kill()
    process.communicate()
    for _ in range(6000):
        if not Path(f"/proc/{worker}").exists():
            break
        time.sleep(0.01)
    study = study_in(output)
    assert not running_trials(study) and summary(first)["status"] == "interrupted"
    assert study.get_trials(states=(TrialState.WAITING,))[0].user_attrs[FIRST_ATTEMPT] == 0


def test_a_study_can_continue_after_its_time_limit(data: Path, program: Program) -> None:
    outcome = tune(program, data, "--max_minutes", 0.25, "--epochs", 1_000_000, n_trials=1, trial_steps=200_000)
    assert outcome.code == 2
    assert "no trial was completed in this time; the same command continues the study" in outcome.err
    assert study_in(program.output).get_trials(states=(TrialState.WAITING,))


def test_all_trials_start_from_the_given_checkpoint(run: Path, data: Path, program: Program) -> None:
    before, start = contents(run / "checkpoints"), newest(run)
    options = ["--resume", str(run), *settings(program.output, fork_steps=6), "--n_trials", "2", "--data", str(data)]
    outcome = program("--mode", "tune", *options, *tiny(cpu_threads=1))
    assert outcome.code == 0, (outcome.out, outcome.err)
    folder = program.output / "tune-run"
    for number in range(2):
        (resumed,) = journal(folder / "trials" / f"trial-{number:05d}", "resumed")
        assert resumed["step"] == 4 and resumed["source"] == str(folder / "start" / start.name)
        assert summary(folder / "trials" / f"trial-{number:05d}")["step"] == 10
    assert study_in(program.output, "tune-run").trials[0].params == {"learning_rate": 1e-3}
    assert contents(run / "checkpoints") == before
    assert f"--resume {folder / 'start' / start.name}" in outcome.out


def test_several_machines_share_a_study_in_postgresql(
    data: Path, tmp_path: Path, postgres: PostgresServer, launch: Launch
) -> None:
    url = postgres.new_database()
    machines = [launch(tmp_path / name, data, "--storage", url, n_trials=3) for name in ("a", "b")]
    outputs = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    runs = [path.name for name in ("a", "b") for path in (tmp_path / name / NAME / "trials").iterdir()]
    assert sorted(runs) == [f"trial-{number:05d}" for number in range(3)]
    assert all("Best of 3 trials" in out for out, _ in outputs)
    assert (tmp_path / "a" / NAME / "best_hparams.yaml").read_text() == (
        tmp_path / "b" / NAME / "best_hparams.yaml"
    ).read_text()


def test_the_trial_of_a_stopped_worker_is_taken_over_and_counts_once(
    data: Path, tmp_path: Path, postgres: PostgresServer, launch: Launch
) -> None:
    """The stopped worker keeps the lock of the trial's folder, as on a machine that sleeps."""
    output, url = tmp_path / "logs", postgres.new_database()
    changes = {"trial_steps": 60, "evaluations": 6, "n_trials": 1, "heartbeat_seconds": 1}
    sleeper = launch(output, data, "--storage", url, **changes)
    wait_for_step(10, output, sleeper)
    (worker,) = children_of(sleeper)
    os.kill(worker, signal.SIGSTOP)
    succeed(launch(output, data, "--storage", url, **changes))
    os.kill(worker, signal.SIGCONT)
    succeed(sleeper)
    storage = RDBStorage(url.replace("postgresql://", "postgresql+psycopg://"), {"poolclass": NullPool})
    study = optuna.load_study(study_name=NAME, storage=storage)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert FAILURE not in study.trials[0].user_attrs and study.trials[1].user_attrs[FIRST_ATTEMPT] == 0
    assert summary(output / NAME / "trials" / "trial-00001")["status"] == "finished"


def test_an_unreachable_mlflow_does_not_prevent_reports_and_clean_up(data: Path, program: Program) -> None:
    config = program.output.parent / "settings.yaml"
    config.write_text(yaml.safe_dump({"search": SEARCH, "mlflow": {"enabled": True}}))
    options = ["--config", config, "--mlflow_uri", "http://127.0.0.1:1", "--data", data, "--n_trials", 1]
    outcome = program("--mode", "tune", "--run_name", NAME, *options, *tiny(epochs=400, cpu_threads=1))
    assert outcome.code == 0 and "the result was not sent to MLflow" in outcome.out
    trial = program.output / NAME / "trials" / "trial-00000"
    assert (trial / "report.html").is_file() and not (trial / "checkpoints").exists()
