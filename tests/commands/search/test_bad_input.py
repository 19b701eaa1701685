"""A study that is impossible is refused in one line before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands.search.studies import NAME, SPACE, settings, study_in, tune
from tests.support.postgres_server import PostgresServer
from tests.support.program import Program, contents, newest, tiny


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "--workers 0: expected at least 1"),
        (("--n_trials", "0"), "--n_trials 0: expected at least 1"),
        (("--storage", "mysql://host/db"), r"--storage mysql://host/db: expected postgresql://"),
        (("--storage", "postgresql://me:geheim@127.0.0.1:1/db"), "cannot be reached or used"),
        (("--storage", "sqlite:///study.db", "--workers", "2"), "with several workers SQLite loses races"),
        (("--resume", "absent.pt"), "absent.pt"),
        (("--hparams_file", "absent.yaml"), "absent.yaml: cannot be read"),
        (("--warm_start", "absent.pt"), "checkpoint absent.pt: cannot be read"),
        (("--storage", "sqlite://"), "expected sqlite:///FILE"),
    ],
)
def test_impossible_options(
    program: Program,
    data: Path,
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # a lock of the database would be written here
    outcome = tune(program, data, *options)
    outcome.refused(message)
    assert "geheim" not in outcome.err
    assert not (program.output / NAME).exists()


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"space": {"learning_rat": {"times": [0.5, 2]}}}, "'learning_rat' cannot be searched; .*'learning_rate'"),
        ({"space": {"seed": {"low": 1, "high": 2}}}, "'seed' cannot be searched"),
        ({"space": {"learning_rate": {"times": [2, 0.5]}}}, "search.space.learning_rate: .*the smaller first"),
        ({"space": {"learning_rate": {"low": 1, "times": [1, 2]}}}, "expected low and high, or times, or choices"),
        ({"space": {"batch_size": {"choices": [4, "x"]}}}, "search.space.batch_size: "),
        ({"space": {}}, "search.space: names no setting of tacotron2"),
        ({"trial_steps": 0}, "search.trial_steps: "),
        ({"limits": {"gradient_norm": -1}}, "search.limits.gradient_norm: "),
    ],
)
def test_impossible_search_settings(program: Program, data: Path, search: dict[str, Any], message: str) -> None:
    tune(program, data, **search).refused(message)


def test_the_folder_of_a_training_is_refused(run: Path, data: Path, program: Program) -> None:
    before = contents(run)
    program("--mode", "tune", "--data", data, "--run_name", "run", *tiny()).refused("is the folder of a training")
    assert contents(run) == before


def test_a_study_with_another_space_is_refused(data: Path, program: Program) -> None:
    tune(program, data, "--max_minutes", 0.0001)
    wider = SPACE | {"guide_sigma": {"low": 0.2, "high": 0.5}}
    tune(program, data, space=wider).refused(rf"study '{NAME}' has another search space \(guide_sigma\)")
    assert len(study_in(program.output).trials) == 1
    again = tune(program, data, "--resume", "none")
    again.refused(f"--run_name {NAME}: .*exists already")


def test_a_damaged_start_checkpoint_is_refused(run: Path, data: Path, program: Program) -> None:
    damaged = newest(run)
    damaged.write_bytes(damaged.read_bytes()[:100])
    options = ["--mode", "tune", "--data", str(data), "--resume", str(damaged), *settings(program.output)]
    program(*options).refused("damaged|checksum|cannot be read")


def test_a_damaged_file_of_an_earlier_study_is_named(data: Path, program: Program) -> None:
    (program.output / "earlier").mkdir(parents=True)
    (program.output / "earlier" / "study.json").write_text("no json")
    tune(program, data).refused(r"earlier/study.json: cannot be read .*remove it")


@pytest.mark.parametrize(
    "content", ['{"corpus": "c", "model": "m", "from_step": 0, "params": {}, "score": null}', '{"corpus": "c"}', "[]"]
)
def test_an_earlier_study_without_a_score_is_named(data: Path, program: Program, content: str) -> None:
    (program.output / "earlier").mkdir(parents=True)
    (program.output / "earlier" / "study.json").write_text(content)
    tune(program, data).refused(r"earlier/study.json: cannot be read .*remove it")


def test_a_file_in_place_of_the_study_folder_is_named(data: Path, program: Program) -> None:
    program.output.mkdir()
    (program.output / NAME).write_text("a file")
    tune(program, data).refused(f"{NAME}: is no folder; choose another --run_name")
    (program.output / NAME).unlink()
    (program.output / NAME / "study.journal").mkdir(parents=True)
    tune(program, data).refused("study.journal: is damaged")


def test_a_refused_resume_leaves_the_study_unchanged(run: Path, data: Path, program: Program) -> None:
    tune(program, data, "--max_minutes", 0.0001)
    tune(program, data, "--resume", run).refused("another length of trials")
    again = tune(program, data, "--max_minutes", 0.0001)
    again.refused("no trial was completed in this time; the same command continues the study")


def test_an_unreachable_storage_leaves_no_folder(run: Path, data: Path, program: Program) -> None:
    options = ["--mode", "tune", "--data", str(data), "--resume", str(run), *settings(program.output)]
    program(*options, "--storage", "postgresql://127.0.0.1:1/db").refused("cannot be reached or used")
    assert not (program.output / "tune-run").exists()


def test_a_study_keeps_its_start_checkpoint(run: Path, data: Path, program: Program) -> None:
    own = program.output.parent / "mine.pt"
    shutil.copyfile(newest(run), own)
    options = ["--mode", "tune", "--data", str(data), *settings(program.output), "--max_minutes", "0.0001"]
    unfinished = "no trial was completed in this time"
    program(*options, "--resume", str(own)).refused(unfinished)
    assert (program.output / "tune-mine" / "start" / "mine.pt").is_file()
    program(*options, "--resume", str(own)).refused(unfinished)
    program(*options, "--run_name", "tune-mine").refused(unfinished)
    for other in (run, Path("absent.pt")):
        refused = program(*options, "--resume", str(other), "--run_name", "tune-mine")
        refused.refused(f"--resume {other}: study .*tune-mine began with {own}")


def test_resume_none_refuses_a_study_that_the_database_has(
    data: Path, program: Program, postgres: PostgresServer
) -> None:
    url = postgres.new_database()
    tune(program, data, "--storage", url, "--max_minutes", 0.0001)
    shutil.rmtree(program.output)
    tune(program, data, "--storage", url, "--resume", "none").refused(f"study '{NAME}' exists already")


def test_a_recipe_that_does_not_fit_the_start_checkpoint_is_refused(run: Path, data: Path, program: Program) -> None:
    options = ["--mode", "tune", "--data", str(data), "--resume", str(run), *settings(program.output)]
    program(*options, "--hparams", "attention_dim=16").refused(
        "does not fit: attention_dim is 8 in the checkpoint, 16 here"
    )
