from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from files import write_atomically
from hparams import UserError
from models.checkpoint_file import SCHEMA_VERSION, load_checkpoint
from training.checkpoints import checkpoint
from training.checkpoints.checkpoint import DiskFull, list_checkpoints, save_checkpoint


def state(step: int, size: int = 64) -> dict[str, Any]:
    return {"progress": {"step": step}, "model": {"w": torch.full((size,), float(step))}}


def save(folder: Path, step: int, *, keep: int = 3, best_step: int | None = None) -> Path:
    return save_checkpoint(folder, state(step), keep=keep, best_step=best_step)


def steps(folder: Path) -> list[int]:
    return [c.step for c in list_checkpoints(folder)]


class Disk:
    """Writer to a folder with room for `n_bytes`; when full, it leaves a torn temporary file as a real disk does."""

    def __init__(self, folder: Path, n_bytes: int, code: int = errno.ENOSPC) -> None:
        self.folder, self.n_bytes, self.code = folder, n_bytes, code

    def write(self, path: Path, content: bytes | memoryview) -> None:
        used = sum(p.stat().st_size for p in self.folder.iterdir())
        if used + len(content) > self.n_bytes:
            (self.folder / ".torn.tmp").write_bytes(content[: max(0, self.n_bytes - used)])
            raise OSError(self.code, os.strerror(self.code), str(path))
        write_atomically(path, content)


def test_saved_state_is_loaded_back_and_its_file_names_the_step(tmp_path: Path) -> None:
    path = save(tmp_path / "new" / "folder", 7)
    loaded = load_checkpoint(path)
    assert loaded["progress"] == {"step": 7} and loaded["schema_version"] == SCHEMA_VERSION
    assert torch.equal(loaded["model"]["w"], torch.full((64,), 7.0))
    assert list_checkpoints(path.parent)[0].path == path and steps(path.parent) == [7]


def test_retention_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5, 6):
        save(tmp_path, step, keep=2, best_step=2 if step >= 2 else None)
    assert steps(tmp_path) == [2, 5, 6]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save_checkpoint(tmp_path, state(2, size=5), keep=3, best_step=2)
    path = save(tmp_path, 2, best_step=2)
    assert steps(tmp_path) == [1, 2] and list_checkpoints(tmp_path)[-1].path == path


def test_foreign_files_are_neither_listed_nor_removed(tmp_path: Path) -> None:
    for name in ("step-1.pt", "mine.pt", "step-00000001-xyz.pt", "notes.tmp"):
        (tmp_path / name).write_text("keep me")
    for step in range(1, 6):
        save(tmp_path, step, keep=1)
    assert steps(tmp_path) == [5] and len(list(tmp_path.iterdir())) == 5


def test_failing_write_leaves_the_old_files_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def broken(source: object, target: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="input/output error"):
        save(tmp_path, 2)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_temporary_file_of_a_killed_save_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".0123456789abcdef.tmp").write_bytes(b"half a checkpoint")
    assert steps(tmp_path) == []
    path = save(tmp_path, 1)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_removes_the_oldest_but_never_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for step in (1, 2, 3, 4):
        size = save(tmp_path, step, keep=9, best_step=1).stat().st_size
    monkeypatch.setattr(checkpoint, "write_atomically", Disk(tmp_path, int(3.5 * size), code).write)
    save(tmp_path, 5, keep=9, best_step=1)
    assert steps(tmp_path) == [1, 4, 5]


def test_disk_that_stays_full_raises_disk_full_and_keeps_the_newest_and_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=9)
    monkeypatch.setattr(checkpoint, "write_atomically", Disk(tmp_path, 10).write)
    with pytest.raises(DiskFull, match="no room for"):
        save(tmp_path, 4, keep=9, best_step=2)
    assert steps(tmp_path) == [2, 3]
    assert [load_checkpoint(c.path)["progress"]["step"] for c in list_checkpoints(tmp_path)] == [2, 3]


def test_other_write_errors_remove_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    monkeypatch.setattr(checkpoint, "write_atomically", Disk(tmp_path, 10, errno.EROFS).write)
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        save(tmp_path, 3)
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("position", [0, 100, -1])
def test_flipped_bit_is_detected_by_the_checksum(tmp_path: Path, position: int) -> None:
    path = save(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, its checksum"):
        load_checkpoint(path)


def test_truncated_checkpoint_is_rejected_under_any_name(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    content = path.read_bytes()
    for name in (path.name, "foreign.pt"):
        for length in (0, 1, 10, len(content) // 2, len(content) - 1):
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(UserError, match="checkpoint"):
                load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text, not a checkpoint",
        b"PK\x03\x04 no zip",
        b"\x80\x02}q\x00.",
        b"\x80\x04\x95",
        b"0",
        b"(",
        b"u",
        b"\x80\x02.",
        b"cos\nsystem\n.",
        "файл".encode(),
        bytes(range(256)),
        pickle.dumps({"state_dict": 5}, protocol=2),
        pickle.dumps([1, 2], protocol=4),
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
    ],
)
def test_other_file_contents_are_rejected_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="some.pt") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_rejected(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            load_checkpoint(path)


def test_bare_tensor_is_rejected(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    with pytest.raises(UserError, match="expected a dictionary with weights, found Tensor"):
        load_checkpoint(tmp_path / "tensor.pt")


class RunsCode:
    """Object whose pickle creates a folder when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("use_zip", [True, False])
def test_pickle_that_would_run_code_is_rejected_without_running(tmp_path: Path, use_zip: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    torch.save({"model": RunsCode(trace)}, path, _use_new_zipfile_serialization=use_zip)
    with pytest.raises(UserError, match="not a readable checkpoint of tensors and plain values"):
        load_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()
