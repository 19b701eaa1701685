"""Request file: what was appended is read once, whole lines only, and unreadable ones become notes."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.journal.control_file import MAX_LINE_LENGTH, RequestFile, RequestReader


def test_requests_to_an_earlier_session_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    requests = RequestFile(tmp_path)
    requests.append("stop", "user 7")
    reader = RequestReader(tmp_path)
    assert list(reader.read()) == []
    requests.append("pause", "user 7")
    assert [order.order for order in reader.read()] == ["pause"]
    assert list(reader.read()) == []


def test_half_a_line_is_not_read_before_its_end_arrives(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    reader, path = RequestReader(tmp_path), tmp_path / "companion" / "orders.jsonl"
    RequestFile(tmp_path).append("pause", "x")
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(whole[20:] + whole[:20])
    assert [order.order for order in reader.read()] == ["pause"]
    with path.open("ab") as file:
        file.write(whole[20:])
    assert [order.order for order in reader.read()] == ["pause"]


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"order": "pau', b"\xff\xfe", b"[]", b'{"order": "dance", "by": "x", "at": 1.0}'),
        *(b'{"order": "set", "by": "x", "at": 1.0}', b'{"order": "approve", "by": "x", "at": 1.0, "number": "x"}'),
    ],
)
def test_an_unreadable_line_becomes_a_note_and_loses_no_other_request(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "companion").mkdir()
    reader = RequestReader(tmp_path)
    (tmp_path / "companion" / "orders.jsonl").write_bytes(line)  # a full disk had no room for its end
    RequestFile(tmp_path).append("pause", "x")
    note, order = reader.read()
    assert (note.order, order.order) == ("note", "pause") and "cannot be read" in str(note.text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_must_be_finite(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        RequestFile(tmp_path).append("set", "user 7", knob="guide_sigma", value=value)


def test_a_request_has_a_maximum_length(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    with pytest.raises(ValueError, match="at most"):
        RequestFile(tmp_path).append("set", "user 7", knob="x" * MAX_LINE_LENGTH, value=1.0)
