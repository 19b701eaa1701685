"""A study started from another folder, with paths as a person writes them there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands.tune import without_storage
from tests.commands.program import Program, journal, tiny
from tests.commands.search.studies import NAME, arguments, settings, study_in, tune


def test_paths_begin_where_the_person_is(data: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.output.mkdir()
    shutil.copytree(data, program.output.parent / "recordings")
    monkeypatch.chdir(program.output.parent)
    given = arguments(Path("logs"), Path("recordings"), n_trials=1)
    program.output = Path("logs")
    outcome = program(*given)
    assert outcome.code == 0, (outcome.out, outcome.err)
    assert (Path("logs") / NAME / "best_hparams.yaml").is_file()


def test_a_run_says_itself_what_it_was_trained_from(run: Path, data: Path, program: Program) -> None:
    options = ["--mode", "tune", "--resume", str(run), *settings(program.output, fork_steps=4), "--n_trials", "1"]
    outcome = program(*options, *tiny(cpu_threads=1))
    assert outcome.code == 0, (outcome.out, outcome.err)
    assert journal(program.output / "tune-run" / "trials" / "trial-00000", "resumed")[0]["data"] == str(data)
    again = program(*options, *tiny(cpu_threads=1))
    assert again.code == 0, again.err
    assert len(study_in(program.output, "tune-run").trials) == 1


def test_quiet_says_only_how_it_ended(data: Path, program: Program) -> None:
    outcome = tune(program, data, "--quiet", n_trials=1)
    assert outcome.code == 0
    assert "watch" not in outcome.out and "trial 0: " not in outcome.out
    assert "Of 1 trials" in outcome.out and "--mode train" in outcome.out


@pytest.mark.parametrize(
    "given", [["--storage", "postgresql://me:geheim@host/db"], ["--storage=postgresql://me:geheim@host/db"]]
)
def test_no_password_is_among_the_arguments_of_a_worker(given: list[str]) -> None:
    assert without_storage(["--mode", "tune", *given, "--workers", "2"]) == ["--mode", "tune", "--workers", "2"]
