"""How the end of a training process is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from filelock import FileLock

from commands.process.child_process import Session
from commands.process.crash_report import Death
from hparams import UserError
from tests.commands.program import contents, journal, summary


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose process was killed in the middle of a line."""
    (tmp_path / "checkpoints").mkdir()
    for step in (4, 6):
        (tmp_path / f"checkpoints/step-{step:08d}-0123456789abcdef.pt").touch()
    (tmp_path / "journal.jsonl").write_text('{"kind": "started", "step": 0}\n{"kind": "ste', encoding="utf-8")
    told = {"status": "running", "reason": None, "step": 7, "phase": "quality"}
    (tmp_path / "summary.json").write_text(json.dumps(told), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (Session(last_step=7, returncode=-9), r"was killed after step 7 \(SIGKILL: .*memory"),
        (Session(returncode=-11), r"was killed before its first step \(SIGSEGV\)"),
        (Session(returncode=-40), r"\(signal 40\)"),
        (Session(last_step=7, returncode=1), r"failed after step 7 \(exit code 1\)"),
        (
            Session(last_step=7, returncode=-9, is_stuck=True, silent_seconds=130.2, limit_seconds=120.0),
            r"made no progress after step 7 for 130 s \(the limit was 120 s\)",
        ),
    ],
)
def test_it_is_told_in_words(session: Session, words: str) -> None:
    assert re.search(words, Death(session).in_words)


def test_a_restart_is_recorded(run: Path) -> None:
    session = Session(folder=run, last_step=7, returncode=-9, silent_seconds=0.5, limit_seconds=120.0)
    Death(session).record(gave_up=None)
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


def test_a_stuck_process_did_not_die_by_itself(run: Path) -> None:
    Death(Session(folder=run, returncode=-9, is_stuck=True)).record(gave_up=None)
    diagnosis = journal(run, "diagnosis")[0]
    assert (diagnosis["ailment"], diagnosis["step"]) == ("no_progress", 6)
    assert (diagnosis["evidence"]["signal"], diagnosis["evidence"]["exit_code"]) == (None, None)


def test_giving_up_is_the_last_word(run: Path) -> None:
    Death(Session(folder=run, last_step=7, returncode=1)).record(gave_up="in vain")
    assert [record["kind"] for record in journal(run)] == ["started", "diagnosis", "finished"]
    assert journal(run, "diagnosis")[0]["evidence"]["exit_code"] == 1
    end = journal(run)[-1]
    assert (end["status"], end["reason"], end["by"]) == ("failed", "in vain", "watchdog")
    assert summary(run) == {"status": "failed", "reason": "in vain", "step": 7, "phase": "quality"}


def test_a_run_without_a_result_gets_none(run: Path) -> None:
    (run / "summary.json").unlink()
    Death(Session(folder=run, returncode=1)).record(gave_up="in vain")
    assert not (run / "summary.json").exists()


@pytest.mark.parametrize("folder", [None, Path("/no/such/run")])
def test_without_a_run_there_is_nothing_to_record(folder: Path | None) -> None:
    death = Death(Session(folder=folder, returncode=1))
    death.record(gave_up="in vain")
    assert death.checkpoint_step is None


def test_a_run_that_another_process_took_over_is_left_alone(run: Path) -> None:
    with FileLock(run / ".lock"):
        before = contents(run)
        with pytest.raises(UserError, match="in use by another process"):
            Death(Session(folder=run, returncode=-9)).record(gave_up=None)
        assert contents(run) == before
