"""Following a journal: every whole record once, in order, at one's own pace, also across ends and failures."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from files import write_atomically
from monitoring.journal.run_state import JournalState
from monitoring.journal.tail import JournalReader, JournalTail
from tests.monitoring.journals import RunFolder


class Notes:
    """A subscriber that remembers; it fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.noted: list[int] = []
        self.shown: list[int] = []
        self.story_steps: list[int] = []
        self.state: dict[str, Any] = {}
        self.is_closed = False

    def on_record(self, record: Any, state: JournalState) -> None:
        self.noted.append(record["step"])
        self.story_steps.append(state.step)

    def flush(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody there")
        self.shown += self.noted
        self.noted = []

    def state_dict(self) -> dict[str, Any]:
        return {"shown": len(self.shown)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    (run.path / "companion").mkdir()
    return run


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.journal.tail.FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr("monitoring.journal.tail.LOOK_EVERY_SECONDS", 0.001)


def follow(run: RunFolder, notes: Notes, say: Callable[[str], None] = pytest.fail, **options: Any) -> JournalTail:
    tail = JournalTail("notes", run.path, lambda: notes, warn=say, **options)
    tail.finish_requested.set()
    tail.run()
    return tail


def test_each_record_is_shown_once_over_several_sessions(run: RunFolder) -> None:
    run.steps(1, 2)
    first, second = Notes(), Notes()
    follow(run, first)
    run.steps(3, 4)
    follow(run, second)
    assert (first.shown, second.shown) == ([2], [4])
    assert (first.state, second.state) == ({}, {"shown": 1})
    assert second.story_steps == [4] and first.is_closed


def test_the_story_holds_what_came_before_the_session(run: RunFolder) -> None:
    run.evaluation(5)
    follow(run, Notes())
    run.steps(6, 6)
    states: list[int] = []
    notes = Notes()
    notes.on_record = lambda record, state: states.append(len(state.evaluations))  # type: ignore[method-assign]
    follow(run, notes)
    assert states == [1]


def test_a_torn_line_waits_for_its_end(run: RunFolder) -> None:
    path = run.path / "journal.jsonl"
    reader = JournalReader(path)
    run.steps(1, 1)
    with path.open("ab") as file:
        file.write(b'{"kind": "ste')
    assert [record["step"] for record in reader.read()] == [1]
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(b'ps", "step": 2}\n')
    assert [record["step"] for record in reader.read()] == [2]


def test_much_is_read_in_parts_and_a_long_line_whole(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.journal.tail.MOST_BYTES", 50)
    for step in (1, 2, 3):
        run.steps(step, step)
    reader = JournalReader(run.path / "journal.jsonl")
    assert [[record["step"] for record in reader.read()] for _ in range(4)] == [[1], [2], [3], []]


def test_a_journal_that_is_not_there_yet_has_no_records(tmp_path: Path) -> None:
    assert JournalReader(tmp_path / "journal.jsonl").read() == []


def test_who_is_out_of_reach_is_tried_again_and_nothing_is_lost(run: RunFolder) -> None:
    run.steps(1, 2)
    notes, said = Notes(failures=3), list[str]()
    follow(run, notes, said.append)
    assert notes.shown == [2]
    assert said == ["notes: nobody there; it will be caught up"]


def test_what_was_not_shown_when_given_up_is_shown_next_time(run: RunFolder) -> None:
    run.steps(1, 2)
    notes = Notes(failures=10**9)
    tail = JournalTail("notes", run.path, lambda: notes, warn=lambda _: tail.cancel_requested.set())
    tail.start()
    tail.join(10)
    assert not tail.is_alive() and tail.is_behind and notes.is_closed
    later = Notes()
    assert not follow(run, later).is_behind
    assert later.shown == [2]


def test_one_that_breaks_says_so(run: RunFolder) -> None:
    run.steps(1, 2)
    said: list[str] = []
    notes = Notes()
    notes.flush = lambda: json.loads("{")  # type: ignore[method-assign]
    tail = JournalTail("notes", run.path, lambda: notes, warn=said.append)
    with pytest.raises(json.JSONDecodeError):
        tail.run()
    assert "notes: ended by JSONDecodeError" in said[0]
    assert tail.is_behind


def test_another_one_stays_behind_until_that_one_is_through(run: RunFolder) -> None:
    release, order = threading.Event(), list[str]()
    slow, fast = Notes(), Notes()
    flush_slow, flush_fast = slow.flush, fast.flush

    def wait() -> None:
        if slow.noted:
            assert release.wait(10)
            order.append("slow")
        flush_slow()

    def note() -> None:
        if fast.noted:
            order.append("fast")
        flush_fast()

    slow.flush, fast.flush = wait, note  # type: ignore[method-assign]
    first = JournalTail("slow", run.path, lambda: slow, warn=pytest.fail)
    second = JournalTail("fast", run.path, lambda: fast, after=first, warn=pytest.fail)
    first.start()
    second.start()
    run.steps(1, 2)
    for tail in (first, second):
        tail.finish_requested.set()
    second.join(0.1)
    assert second.is_alive() and fast.shown == []
    release.set()
    first.join(10)
    second.join(10)
    assert order == ["slow", "fast"] and fast.shown == [2]


def test_nobody_waits_for_one_that_broke(run: RunFolder) -> None:
    run.steps(1, 2)
    broken = JournalTail("broken", run.path, Notes, warn=pytest.fail)  # was never started
    notes = Notes()
    follow(run, notes, after=broken)
    assert notes.shown == [2]


def test_a_disk_too_full_to_remember_the_place_is_waited_for(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, write = [1, 1], write_atomically

    def fail_first(path: Path, content: bytes) -> None:
        if failures:
            failures.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr("monitoring.journal.tail.write_atomically", fail_first)
    run.steps(1, 2)
    notes, said = Notes(), list[str]()
    follow(run, notes, said.append)
    assert notes.shown == [2] and failures == [] and len(said) == 1
    later = Notes()
    follow(run, later)
    assert later.shown == []


def test_one_that_is_ahead_of_whom_it_follows_waits(run: RunFolder) -> None:
    """The one before it had broken in an earlier session."""
    run.steps(1, 2)
    reader = JournalReader(run.path / "journal.jsonl", offset=100)
    assert reader.read(until=0) == []
    assert reader.offset == 100


def test_a_journal_shorter_than_it_was_ends_the_following_all_the_same(run: RunFolder) -> None:
    run.steps(1, 2)
    follow(run, Notes())
    (run.path / "journal.jsonl").write_bytes(b"")
    follow(run, Notes())
