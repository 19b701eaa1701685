from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from corpus.checksummed_lines import LineIndex


def test_what_was_added_is_known_now_and_later(tmp_path: Path) -> None:
    index = LineIndex(tmp_path / "index.txt")
    assert index.get("a") is None
    index.add({"a": [1, "ä\n"], "b": "x"})
    index.add({"a": 2})
    for known in (index, LineIndex(tmp_path / "index.txt")):
        assert (known.get("a"), known.get("b"), known.get("c")) == (2, "x", None)


@pytest.mark.parametrize("keep", range(0, 40, 3))
def test_a_torn_line_costs_only_itself(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "index.txt"
    LineIndex(path).add({"a": "first"})
    whole = path.read_bytes()
    LineIndex(path).add({"b": "second"})
    path.write_bytes(path.read_bytes()[: len(whole) + keep])
    torn = LineIndex(path)
    assert torn.get("a") == "first" and torn.get("b") in (None, "second")
    torn.add({"c": "third"})
    again = LineIndex(path)
    assert (again.get("a"), again.get("c")) == ("first", "third")


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "index.txt"
    LineIndex(path).add({"a": 7})
    content = bytearray(path.read_bytes())
    content[content.index(b"7")] ^= 1
    path.write_bytes(bytes(content))
    assert LineIndex(path).get("a") is None


def add_many(path: Path, name: str) -> None:
    index = LineIndex(path)
    for i in range(200):
        index.add({f"{name}{i}": "x" * (i % 50)})


def test_several_processes_may_add_at_the_same_time(tmp_path: Path) -> None:
    path, context = tmp_path / "index.txt", multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_many, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    index = LineIndex(path)
    assert all(index.get(f"{name}{i}") == "x" * (i % 50) for name in "ab" for i in range(200))
