"""The journal keeps every record through kills and full disks, and refuses secrets."""

import errno
import io
import json
import math
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from files import REPOSITORY
from monitoring.journal.journal import RESERVE_BYTES, SCHEMA_VERSION, Journal, read_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def reserve_path(path: Path) -> Path:
    return path.with_name("journal.jsonl.reserve")


def test_a_record_is_read_back_with_its_head(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.phase = "quality"
        journal.write("evaluation", 1000, signals={"focus": 0.5, "stop_rate": None}, samples=["a.wav"], best=True)
    (record,) = read_journal(path)
    written = datetime.fromisoformat(record.pop("time"))
    assert written.tzinfo == UTC
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60
    assert record == {
        "schema_version": SCHEMA_VERSION,
        "step": 1000,
        "phase": "quality",
        "kind": "evaluation",
        "signals": {"focus": 0.5, "stop_rate": None},
        "samples": ["a.wav"],
        "best": True,
    }


def test_reopening_appends(path: Path) -> None:
    for step in (1, 2):
        with closing(Journal(path)) as journal:
            journal.write("resumed", step)
    assert [record["step"] for record in read_journal(path)] == [1, 2]


def test_each_record_is_one_line_of_readable_text(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.write("note", 1, text="съешь\nещё\u2028")
    assert path.read_bytes().count(b"\n") == 1
    assert "съешь" in path.read_text(encoding="utf-8")
    assert read_journal(path)[0]["text"] == "съешь\nещё\u2028"


def test_a_file_name_that_is_not_utf8_is_kept(path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    with closing(Journal(path)) as journal:
        journal.write("skipped", 0, where=name)
    assert read_journal(path)[0]["where"] == name


def test_nonfinite_numbers_become_null_at_any_depth(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.write("step", 1, loss=math.nan, more={"norms": [math.inf, 1.5, np.float32(-np.inf)]})
    record = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["loss"] is None
    assert record["more"] == {"norms": [None, 1.5, None]}


def test_numpy_numbers_are_numbers(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.write("step", 1, loss=np.float32(0.5), count=np.int64(3))
    assert (read_journal(path)[0]["loss"], read_journal(path)[0]["count"]) == (0.5, 3)


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"bot": [value]}], ids=["plain", "nested"])
def test_a_secret_is_refused_and_not_quoted_in_the_error(path: Path, wrap) -> None:  # type: ignore[no-untyped-def]
    with closing(Journal(path)) as journal:
        with pytest.raises(TypeError, match="SecretStr") as caught:
            journal.write("settings", 0, token=wrap(SecretStr("123:abc")))
        journal.write("after", 0)
    assert "123:abc" not in str(caught.value)
    assert [record["kind"] for record in read_journal(path)] == ["after"]


@pytest.mark.parametrize("value", [Path("a"), {1: "a"}, b"a", {1, 2}])
def test_values_that_are_not_json_are_refused(path: Path, value: object) -> None:
    with closing(Journal(path)) as journal, pytest.raises(TypeError, match="field: expected"):
        journal.write("note", 0, field=value)


def test_the_head_cannot_be_overwritten(path: Path) -> None:
    with closing(Journal(path)) as journal, pytest.raises(ValueError, match="time"):
        journal.write("note", 0, time="yesterday")


@pytest.mark.parametrize("torn", [b'{"step": 2, "ki', '{"text": "щ'.encode()[:-1], b"\x00\x00"])
def test_a_torn_last_line_is_cut_on_open(path: Path, torn: bytes) -> None:
    with closing(Journal(path)) as journal:
        journal.write("first", 1)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [record["kind"] for record in read_journal(path)] == ["first"]
    with closing(Journal(path)) as journal:
        assert path.read_bytes() == whole
        journal.write("second", 2)
    assert [record["kind"] for record in read_journal(path)] == ["first", "second"]


def test_a_journal_of_one_torn_line_becomes_empty(path: Path) -> None:
    path.write_bytes(b'{"step"')
    assert read_journal(path) == []
    Journal(path).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("line", [b"[1, 2]", b"{oops", b""])
def test_a_broken_line_in_the_middle_is_an_error_with_its_number(path: Path, line: bytes) -> None:
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"journal\.jsonl:2: expected"):
        read_journal(path)


def test_a_line_that_is_written_while_it_is_read_does_not_count_yet(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GrowingFile(io.RawIOBase):
        """File whose end is reached in the middle of a line, of which the rest is written just then."""

        def __init__(self) -> None:
            self._parts = [b'{"kind": "a"}\n{"kind": "b", "te', b"", b'xt": "c"}\n', b""]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            part = self._parts.pop(0)
            buffer[: len(part)] = part
            return len(part)

    monkeypatch.setattr(Path, "open", lambda *_: io.BufferedReader(GrowingFile()))
    assert read_journal(path) == [{"kind": "a"}]


def test_records_are_on_the_disk_when_the_process_is_killed(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from monitoring.journal.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for step in range(20): journal.write('step', step)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=REPOSITORY, check=False)
    assert [record["step"] for record in read_journal(path)] == list(range(20))


def test_every_record_is_synced_before_write_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines_when_synced = []
    sync = os.fsync

    def counting_sync(file: int) -> None:
        lines_when_synced.append(path.read_bytes().count(b"\n"))
        sync(file)

    with closing(Journal(path)) as journal:
        monkeypatch.setattr(os, "fsync", counting_sync)
        journal.write("first", 1)
        journal.write("second", 2)
    assert lines_when_synced == [1, 2]


class FullDisk:
    """Disk without space while `reserve` exists; it writes the beginning of a line before it fails."""

    def __init__(self, reserve: Path, error_number: int) -> None:
        self.reserve, self.error_number, self.write_to_disk = reserve, error_number, os.write

    def write(self, file: int, data: memoryview) -> int:
        if self.reserve.exists():
            if len(data) > 5:
                return self.write_to_disk(file, data[: len(data) - 5])
            raise OSError(self.error_number, os.strerror(self.error_number))
        return self.write_to_disk(file, data)


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EDQUOT])
def test_on_a_full_disk_the_reserve_makes_room(path: Path, monkeypatch: pytest.MonkeyPatch, error_number: int) -> None:
    with closing(Journal(path)) as journal:
        journal.write("before", 1)
        assert reserve_path(path).stat().st_size == RESERVE_BYTES
        monkeypatch.setattr(os, "write", FullDisk(reserve_path(path), error_number).write)
        journal.write("failed", 2, reason="disk full")
        assert not reserve_path(path).exists()
    assert [record["kind"] for record in read_journal(path)] == ["before", "failed"]


def test_without_a_reserve_a_full_disk_is_an_error_and_leaves_complete_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    journal.write("before", 1)
    reserve_path(path).unlink()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        # the journal itself takes the place of the reserve, so that space never becomes free
        patch.setattr(os, "write", FullDisk(path, errno.ENOSPC).write)
        journal.write("lost", 2)
    journal.write("after", 3)
    journal.close()
    assert [record["kind"] for record in read_journal(path)] == ["before", "after"]


def test_another_disk_error_keeps_the_reserve(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Journal(path)) as journal:
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output"):
            patch.setattr(os, "write", FullDisk(path, errno.EIO).write)
            journal.write("lost", 2)
        assert reserve_path(path).exists()


def test_a_missing_or_damaged_reserve_is_written_again(path: Path) -> None:
    with closing(Journal(path)) as journal:
        reserve_path(path).unlink()
        journal.allocate_reserve()
        assert reserve_path(path).stat().st_size == RESERVE_BYTES
        reserve_path(path).write_bytes(b"part")
        journal.allocate_reserve()
        assert reserve_path(path).stat().st_size == RESERVE_BYTES


def test_a_closed_journal_leaves_no_reserve(path: Path) -> None:
    Journal(path).close()
    assert not reserve_path(path).exists()
