"""Journal tails: every complete record once and in order, across sessions, failures and slow subscribers."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from files import write_atomically
from monitoring.journal.journal_state import JournalState
from monitoring.journal.tail import JournalReader, JournalTail
from tests.monitoring.journals import RunFolder


class StepList:
    """Subscriber that collects steps; its first `failures` flushes fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.queued: list[int] = []
        self.flushed: list[int] = []
        self.state_steps: list[int] = []
        self.loaded_state: dict[str, Any] = {}
        self.is_closed = False

    def on_record(self, record: Any, state: JournalState) -> None:
        self.queued.append(record["step"])
        self.state_steps.append(state.step)

    def flush(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody there")
        self.flushed += self.queued
        self.queued = []

    def state_dict(self) -> dict[str, Any]:
        return {"flushed": len(self.flushed)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loaded_state = state

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    (run.path / "companion").mkdir()
    return run


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.journal.tail.FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr("monitoring.journal.tail.POLL_SECONDS", 0.001)


def run_tail(
    run: RunFolder, subscriber: StepList, warn: Callable[[str], None] = pytest.fail, **options: Any
) -> JournalTail:
    tail = JournalTail("steps", run.path, lambda: subscriber, warn=warn, **options)
    tail.finish_requested.set()
    tail.run()
    return tail


def test_each_record_is_flushed_once_over_several_sessions(run: RunFolder) -> None:
    run.steps(1, 2)
    first, second = StepList(), StepList()
    run_tail(run, first)
    run.steps(3, 4)
    run_tail(run, second)
    assert (first.flushed, second.flushed) == ([2], [4])
    assert (first.loaded_state, second.loaded_state) == ({}, {"flushed": 1})
    assert second.state_steps == [4] and first.is_closed


def test_the_state_includes_records_of_earlier_sessions(run: RunFolder) -> None:
    run.evaluation(5)
    run_tail(run, StepList())
    run.steps(6, 6)
    n_evaluations: list[int] = []
    subscriber = StepList()
    subscriber.on_record = lambda record, state: n_evaluations.append(len(state.evaluations))  # type: ignore[method-assign]
    run_tail(run, subscriber)
    assert n_evaluations == [1]


def test_an_unfinished_line_is_read_once_it_is_complete(run: RunFolder) -> None:
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


def test_a_large_journal_is_read_in_parts_and_a_long_line_at_once(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.journal.tail.MAX_BYTES_PER_READ", 50)
    for step in (1, 2, 3):
        run.steps(step, step)
    reader = JournalReader(run.path / "journal.jsonl")
    assert [[record["step"] for record in reader.read()] for _ in range(4)] == [[1], [2], [3], []]


def test_a_missing_journal_has_no_records(tmp_path: Path) -> None:
    assert JournalReader(tmp_path / "journal.jsonl").read() == []


def test_a_failed_flush_is_retried_with_one_warning(run: RunFolder) -> None:
    run.steps(1, 2)
    subscriber, warnings = StepList(failures=3), list[str]()
    run_tail(run, subscriber, warnings.append)
    assert subscriber.flushed == [2]
    assert warnings == ["steps: nobody there; retrying"]


def test_records_not_flushed_before_a_cancel_are_flushed_in_the_next_session(run: RunFolder) -> None:
    run.steps(1, 2)
    unreachable = StepList(failures=10**9)
    tail = JournalTail("steps", run.path, lambda: unreachable, warn=lambda _: tail.cancel_requested.set())
    tail.start()
    tail.join(10)
    assert not tail.is_alive() and tail.is_behind and unreachable.is_closed
    later = StepList()
    assert not run_tail(run, later).is_behind
    assert later.flushed == [2]


def test_an_error_of_the_subscriber_ends_the_tail_with_a_warning(run: RunFolder) -> None:
    run.steps(1, 2)
    warnings: list[str] = []
    subscriber = StepList()
    subscriber.flush = lambda: json.loads("{")  # type: ignore[method-assign]
    tail = JournalTail("steps", run.path, lambda: subscriber, warn=warnings.append)
    with pytest.raises(json.JSONDecodeError):
        tail.run()
    assert "steps: ended by JSONDecodeError" in warnings[0]
    assert tail.is_behind


def test_a_tail_waits_until_the_one_before_it_has_flushed(run: RunFolder) -> None:
    release, order = threading.Event(), list[str]()
    slow, fast = StepList(), StepList()
    flush_slow, flush_fast = slow.flush, fast.flush

    def flush_slow_when_released() -> None:
        if slow.queued:
            assert release.wait(10)
            order.append("slow")
        flush_slow()

    def flush_fast_in_order() -> None:
        if fast.queued:
            order.append("fast")
        flush_fast()

    slow.flush, fast.flush = flush_slow_when_released, flush_fast_in_order  # type: ignore[method-assign]
    first = JournalTail("slow", run.path, lambda: slow, warn=pytest.fail)
    second = JournalTail("fast", run.path, lambda: fast, after=first, warn=pytest.fail)
    first.start()
    second.start()
    run.steps(1, 2)
    for tail in (first, second):
        tail.finish_requested.set()
    second.join(0.1)
    assert second.is_alive() and fast.flushed == []
    release.set()
    first.join(10)
    second.join(10)
    assert order == ["slow", "fast"] and fast.flushed == [2]


def test_a_tail_does_not_wait_for_a_dead_one(run: RunFolder) -> None:
    run.steps(1, 2)
    never_started = JournalTail("broken", run.path, StepList, warn=pytest.fail)
    subscriber = StepList()
    run_tail(run, subscriber, after=never_started)
    assert subscriber.flushed == [2]


def test_saving_the_offset_is_retried_on_a_full_disk(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, write = [1, 1], write_atomically

    def fail_first(path: Path, content: bytes) -> None:
        if failures:
            failures.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr("monitoring.journal.tail.write_atomically", fail_first)
    run.steps(1, 2)
    subscriber, warnings = StepList(), list[str]()
    run_tail(run, subscriber, warnings.append)
    assert subscriber.flushed == [2] and failures == [] and len(warnings) == 1
    later = StepList()
    run_tail(run, later)
    assert later.flushed == []


def test_a_reader_ahead_of_the_limit_waits(run: RunFolder) -> None:
    """The tail that sets the limit may have failed in an earlier session and be far behind."""
    run.steps(1, 2)
    reader = JournalReader(run.path / "journal.jsonl", offset=100)
    assert reader.read(until=0) == []
    assert reader.offset == 100


def test_a_journal_that_was_shortened_does_not_block_the_tail(run: RunFolder) -> None:
    run.steps(1, 2)
    run_tail(run, StepList())
    (run.path / "journal.jsonl").write_bytes(b"")
    run_tail(run, StepList())
