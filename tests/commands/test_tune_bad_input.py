"""What cannot be searched is refused in one line before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import Program, contents, newest, tiny
from tests.commands.studies import NAME, SPACE, settings, study_in, tune


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "--workers 0: expected at least 1"),
        (("--n_trials", "0"), "--n_trials 0: expected at least 1"),
        (("--max_minutes", "0"), "--max_minutes 0: expected more than 0"),
        (("--storage", "mysql://host/db"), r"--storage mysql://host/db: expected postgresql://"),
        (("--storage", "postgresql://me:geheim@127.0.0.1:1/db"), "cannot be reached or used"),
        (("--storage", "sqlite:///study.db", "--workers", "2"), "with several workers SQLite loses races"),
        (("--resume", "absent.pt"), "absent.pt"),
        (("--run_name", "../out"), "--run_name '../out'"),
        (("--hparams_file", "absent.yaml"), "absent.yaml: cannot be read"),
    ],
)
def test_options_that_cannot_be(program: Program, data: Path, options: tuple[str, ...], message: str) -> None:
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
def test_a_search_that_cannot_be(program: Program, data: Path, search: dict[str, Any], message: str) -> None:
    tune(program, data, **search).refused(message)


def test_a_study_is_not_made_in_the_folder_of_a_training(run: Path, data: Path, program: Program) -> None:
    before = contents(run)
    program("--mode", "tune", "--data", data, "--run_name", "run", *tiny()).refused("is the folder of a training")
    assert contents(run) == before


def test_a_study_whose_space_changed_is_another(data: Path, program: Program) -> None:
    tune(program, data, "--max_minutes", 0.0001)
    wider = SPACE | {"guide_sigma": {"low": 0.2, "high": 0.5}}
    tune(program, data, space=wider).refused(rf"study '{NAME}' has another search space \(guide_sigma\)")
    assert len(study_in(program.output).trials) == 1
    again = tune(program, data, "--resume", "none")
    again.refused(f"--run_name {NAME}: .*exists already")


def test_what_no_model_can_begin_with_is_refused_by_mode_tune_too(run: Path, data: Path, program: Program) -> None:
    damaged = newest(run)
    damaged.write_bytes(damaged.read_bytes()[:100])
    options = ["--mode", "tune", "--data", str(data), "--resume", str(damaged), *settings(program.output)]
    program(*options).refused("damaged|checksum|cannot be read")


def test_a_damaged_file_of_an_earlier_study_is_named(data: Path, program: Program) -> None:
    (program.output / "earlier").mkdir(parents=True)
    (program.output / "earlier" / "study.json").write_text("no json")
    tune(program, data).refused(r"earlier/study.json: cannot be read .*remove it")
