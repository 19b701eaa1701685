"""Report of a training process that crashed: description, journal, summary."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from filelock import FileLock

from commands.process.child_process import ProcessOutcome
from commands.process.crash_report import CrashReport
from hparams import UserError
from tests.support.program import contents, journal, summary


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose process was killed in the middle of a line."""
    (tmp_path / "checkpoints").mkdir()
    for step in (4, 6):
        (tmp_path / f"checkpoints/step-{step:08d}-0123456789abcdef.pt").touch()
    (tmp_path / "journal.jsonl").write_text('{"kind": "started", "step": 0}\n{"kind": "ste', encoding="utf-8")
    state = {"status": "running", "reason": None, "step": 7, "phase": "quality"}
    (tmp_path / "summary.json").write_text(json.dumps(state), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("outcome", "description"),
    [
        (ProcessOutcome(last_step=7, returncode=-9), r"was killed after step 7 \(SIGKILL: .*memory"),
        (ProcessOutcome(returncode=-11), r"was killed before its first step \(SIGSEGV\)"),
        (ProcessOutcome(returncode=-40), r"\(signal 40\)"),
        (ProcessOutcome(last_step=7, returncode=1), r"failed after step 7 \(exit code 1\)"),
        (
            ProcessOutcome(last_step=7, returncode=-9, is_stuck=True, silent_seconds=130.2, limit_seconds=120.0),
            r"made no progress after step 7 for 130 s \(the limit was 120 s\)",
        ),
    ],
)
def test_the_description_names_step_and_cause(outcome: ProcessOutcome, description: str) -> None:
    assert re.search(description, CrashReport(outcome).description)


def test_a_restart_is_recorded(run: Path) -> None:
    outcome = ProcessOutcome(run=run, last_step=7, returncode=-9, silent_seconds=0.5, limit_seconds=120.0)
    CrashReport(outcome).write(give_up_reason=None)
    _, diagnosis, intervention = journal(run)
    assert diagnosis | {"time": None} == {
        "schema_version": 1,
        "time": None,
        "step": 7,
        "phase": "quality",
        "kind": "diagnosis",
        "ailment": "process_died",
        "severity": "critical",
        "evidence": {
            "last_step": 7,
            "exit_code": None,
            "signal": "SIGKILL",
            "seconds_without_progress": 0.5,
            "limit_seconds": 120.0,
        },
        "by": "watchdog",
    }
    assert (intervention["kind"], intervention["remedy"]) == ("intervention", "restart_process")
    assert (intervention["from_checkpoint"], intervention["by"], intervention["step"]) == (6, "watchdog", 7)
    assert summary(run)["status"] == "running"


def test_a_stuck_process_is_diagnosed_as_no_progress(run: Path) -> None:
    CrashReport(ProcessOutcome(run=run, returncode=-9, is_stuck=True)).write(give_up_reason=None)
    diagnosis = journal(run, "diagnosis")[0]
    assert (diagnosis["ailment"], diagnosis["step"]) == ("no_progress", 6)
    assert (diagnosis["evidence"]["signal"], diagnosis["evidence"]["exit_code"]) == (None, None)


def test_giving_up_ends_journal_and_summary_as_failed(run: Path) -> None:
    CrashReport(ProcessOutcome(run=run, last_step=7, returncode=1)).write(give_up_reason="3 restarts failed")
    assert [record["kind"] for record in journal(run)] == ["started", "diagnosis", "finished"]
    assert journal(run, "diagnosis")[0]["evidence"]["exit_code"] == 1
    end = journal(run)[-1]
    assert (end["status"], end["reason"], end["by"]) == ("failed", "3 restarts failed", "watchdog")
    assert summary(run) == {"status": "failed", "reason": "3 restarts failed", "step": 7, "phase": "quality"}


def test_a_run_without_a_summary_gets_none(run: Path) -> None:
    (run / "summary.json").unlink()
    CrashReport(ProcessOutcome(run=run, returncode=1)).write(give_up_reason="3 restarts failed")
    assert not (run / "summary.json").exists()


@pytest.mark.parametrize("folder", [None, Path("/no/such/run")])
def test_without_a_run_folder_nothing_is_written(folder: Path | None) -> None:
    report = CrashReport(ProcessOutcome(run=folder, returncode=1))
    report.write(give_up_reason="3 restarts failed")
    assert report.checkpoint_step is None


def test_a_run_locked_by_another_process_is_not_changed(run: Path) -> None:
    with FileLock(run / ".lock"):
        before = contents(run)
        with pytest.raises(UserError, match="in use by another process"):
            CrashReport(ProcessOutcome(run=run, returncode=-9)).write(give_up_reason=None)
        assert contents(run) == before
