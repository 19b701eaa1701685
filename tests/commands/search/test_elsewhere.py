"""Relative paths, data paths of a run, quiet output and passwords of a study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands.tune import without_storage
from tests.commands.search.studies import NAME, arguments, settings, study_in, tune
from tests.support.program import Program, journal, tiny


def test_relative_paths_work_in_the_workers(data: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.output.mkdir()
    shutil.copytree(data, program.output.parent / "recordings")
    monkeypatch.chdir(program.output.parent)
    given = arguments(Path("logs"), Path("recordings"), n_trials=1)
    program.output = Path("logs")
    outcome = program(*given)
    assert outcome.code == 0, (outcome.out, outcome.err)
    assert (Path("logs") / NAME / "best_hparams.yaml").is_file()


def test_the_data_of_the_start_checkpoint_is_the_default(run: Path, data: Path, program: Program) -> None:
    options = ["--mode", "tune", "--resume", str(run), *settings(program.output, fork_steps=4), "--n_trials", "1"]
    outcome = program(*options, *tiny(cpu_threads=1))
    assert outcome.code == 0, (outcome.out, outcome.err)
    assert journal(program.output / "tune-run" / "trials" / "trial-00000", "resumed")[0]["data"] == str(data)
    again = program(*options, *tiny(cpu_threads=1))
    assert again.code == 0, again.err
    assert len(study_in(program.output, "tune-run").trials) == 1


def test_quiet_prints_only_the_result(data: Path, program: Program) -> None:
    outcome = tune(program, data, "--quiet", n_trials=1)
    assert outcome.code == 0
    assert "watch" not in outcome.out and "trial 0: " not in outcome.out
    assert "Best of 1 trials" in outcome.out and "--mode train" in outcome.out


@pytest.mark.parametrize(
    "given", [["--storage", "postgresql://me:geheim@host/db"], ["--storage=postgresql://me:geheim@host/db"]]
)
def test_workers_get_no_password_as_argument(given: list[str]) -> None:
    assert without_storage(["--mode", "tune", *given, "--workers", "2"]) == ["--mode", "tune", "--workers", "2"]
