from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files import (
    READ_BLOCK_BYTES,
    ChecksummedIndex,
    atomic_replacement,
    hex_digest,
    safe_name,
    truncate_torn_line,
)


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        ("ab", "3dc9ae220222e2e156b2a5abb60d01c7"),
        (b"ab", "3dc9ae220222e2e156b2a5abb60d01c7"),
        ("\udc80", "a9eac2dbc1be1ac8740107801b666f53"),
    ],
)
def test_digests_stay_as_they_are_in_the_caches_of_earlier_versions(content: str | bytes, digest: str) -> None:
    assert hex_digest(content) == digest


@pytest.mark.parametrize("sync", [True, False])
def test_the_file_appears_only_when_it_is_complete(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_replacement(path, sync=sync) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_replacement(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_use_different_temporary_files(tmp_path: Path) -> None:
    with atomic_replacement(tmp_path / "a") as first, atomic_replacement(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"


@pytest.mark.parametrize("n_torn_bytes", [0, 1, READ_BLOCK_BYTES - 1, READ_BLOCK_BYTES, 3 * READ_BLOCK_BYTES + 1])
@pytest.mark.parametrize("complete", [b"", b"\n", b"one\n", b"one\ntwo\n"])
def test_only_what_follows_the_last_newline_is_cut_off(tmp_path: Path, complete: bytes, n_torn_bytes: int) -> None:
    path = tmp_path / "lines"
    path.write_bytes(complete + b"x" * n_torn_bytes)
    truncate_torn_line(path)
    assert path.read_bytes() == complete


def test_entries_are_known_at_once_and_after_reopening(tmp_path: Path) -> None:
    index = ChecksummedIndex(tmp_path / "index.txt")
    assert index.get("a") is None
    index.add({"a": [1, "ä\n"], "b": "x"})
    index.add({"a": 2})
    for opened in (index, ChecksummedIndex(tmp_path / "index.txt")):
        assert (opened.get("a"), opened.get("b"), opened.get("c")) == (2, "x", None)


@pytest.mark.parametrize("n_bytes", range(0, 40, 3))
def test_a_torn_entry_costs_only_itself(tmp_path: Path, n_bytes: int) -> None:
    """`n_bytes` of the second entry reach the file."""
    path = tmp_path / "index.txt"
    ChecksummedIndex(path).add({"a": "first"})
    size = path.stat().st_size
    ChecksummedIndex(path).add({"b": "second"})
    path.write_bytes(path.read_bytes()[: size + n_bytes])
    torn = ChecksummedIndex(path)
    assert torn.get("a") == "first" and torn.get("b") in (None, "second")
    torn.add({"c": "third"})
    reopened = ChecksummedIndex(path)
    assert (reopened.get("a"), reopened.get("c")) == ("first", "third")


def test_an_entry_with_a_flipped_bit_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "index.txt"
    ChecksummedIndex(path).add({"a": 7})
    content = bytearray(path.read_bytes())
    content[content.index(b"7")] ^= 1
    path.write_bytes(bytes(content))
    assert ChecksummedIndex(path).get("a") is None


def add_many(path: Path, name: str) -> None:
    index = ChecksummedIndex(path)
    for i in range(200):
        index.add({f"{name}{i}": "x" * (i % 50)})


def test_several_processes_may_add_entries_at_the_same_time(tmp_path: Path) -> None:
    path, context = tmp_path / "index.txt", multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_many, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    index = ChecksummedIndex(path)
    assert all(index.get(f"{name}{i}") == "x" * (i % 50) for name in "ab" for i in range(200))


@pytest.mark.parametrize("id", ["LJ001-0001", "000000_RUSLAN", "v1.5"])
def test_an_ordinary_id_is_its_own_name(id: str) -> None:
    assert safe_name(id) == id


@given(st.text(max_size=200))
@example("..")
@example("../../etc/passwd")
@example("-rf")
@example("<b>.")
@example("a.")
def test_a_safe_name_stays_in_its_folder(id: str) -> None:
    name = safe_name(id)
    assert Path("/folder", name).parent == Path("/folder") and Path("/folder", name).name == name
    assert (
        not name.startswith((".", "-"))
        and not name.endswith(".")
        and len(name.encode()) < 120
        and name.isascii()
        and name.isprintable()
    )


@given(st.text(max_size=30), st.text(max_size=30))
def test_different_ids_have_different_names(first: str, second: str) -> None:
    assert (safe_name(first) == safe_name(second)) == (first == second)


def test_an_id_that_looks_like_a_safe_name_does_not_collide_with_it() -> None:
    assert safe_name(safe_name("a/b")) != safe_name("a/b")
    assert safe_name("a/b") != safe_name("a_b")
