"""--mode report: a page made from a run's folder alone."""

from __future__ import annotations

from pathlib import Path

from tests.support.program import Program


def test_the_report_is_written_into_the_given_run(program: Program, run: Path) -> None:
    outcome = program("--mode", "report", "--run", run)
    assert (outcome.code, outcome.out.strip()) == (0, str(run / "report.html"))
    assert "Finished" in (run / "report.html").read_text(encoding="utf-8")


def test_the_latest_run_is_the_default(program: Program, run: Path) -> None:
    assert program("--mode", "report").code == 0
    assert (run / "report.html").is_file()


def test_the_language_is_a_setting(program: Program, run: Path, tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("report: {language: ru}", encoding="utf-8")
    assert program("--mode", "report", "--run", run, "--config", config).code == 0
    assert "Закончено" in (run / "report.html").read_text(encoding="utf-8")


def test_a_folder_that_is_no_run_is_refused(program: Program, tmp_path: Path) -> None:
    program("--mode", "report", "--run", tmp_path).refused("there is no run")
