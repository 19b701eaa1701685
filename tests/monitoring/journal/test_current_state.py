"""State of a run whose journal grows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from monitoring.journal import current_state
from monitoring.journal.current_state import CurrentState
from monitoring.journal.journal import Journal, Record
from monitoring.journal.journal_state import JournalState


def write_steps(journal: Journal, *steps: int) -> None:
    for step in steps:
        journal.write("steps", step, steps=[step], signals={"total_loss": [1.0 / step]})


def test_each_record_is_applied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    applied = []

    class CountingState(JournalState):
        def apply(self, record: Record) -> None:
            applied.append(record["step"])
            super().apply(record)

    monkeypatch.setattr(current_state, "JournalState", CountingState)
    current = CurrentState(tmp_path)
    with current.read() as state:
        assert state.step == 0
    with closing(Journal(tmp_path / "journal.jsonl")) as journal:
        write_steps(journal, 1, 2)
        with current.read() as state:
            assert state.step == 2
        write_steps(journal, 3)
        with current.read() as state:
            assert state.step == 3 and state.series["total_loss"].points() == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert applied == [1, 2, 3]


def test_a_bad_line_is_reported_each_time_and_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with closing(Journal(path)) as journal:
        write_steps(journal, 1)
    with path.open("a", encoding="utf-8") as file:
        file.write("no record\n")
    current = CurrentState(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="expected one JSON object a line"), current.read():
            pass
