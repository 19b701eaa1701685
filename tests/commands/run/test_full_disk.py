"""A full disk ends a run as failed: journalled, with its last good checkpoint intact."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import files as atomic_file
from models.checkpoint_file import load_checkpoint
from monitoring.journal.journal import RESERVE_BYTES
from tests.commands.process.pipe import Pipe
from tests.support.program import Program, journal, losses, newest, summary

DISK_BYTES = 8 * 2**20
DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)


class FullDisk:
    """A small tmpfs where the system allows mounting (as root), else a folder whose writes are refused."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        folder.mkdir()
        self.is_real = LIBC.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, f"size={DISK_BYTES}".encode()) == 0

    def fill(self, *, leave: int) -> None:
        if not self.is_real:
            self._monkeypatch.setattr(atomic_file, "os", SimpleNamespace(fsync=_no_space, replace=os.replace))
            return
        status = os.statvfs(self.folder)
        with (self.folder / "filler").open("wb") as file:
            file.write(bytes(max(0, status.f_bavail * status.f_frsize - leave)))

    def make_room(self) -> None:
        if self.is_real:
            (self.folder / "filler").unlink()
        self._monkeypatch.setattr(atomic_file, "os", os)

    def unmount(self) -> None:
        if self.is_real:
            assert LIBC.umount2(bytes(self.folder), DETACH) == 0, os.strerror(ctypes.get_errno())


def _no_space(_file: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    disk = FullDisk(tmp_path / "disk", monkeypatch)
    yield disk
    disk.unmount()


@pytest.mark.parametrize("spare_bytes", [100_000, 600_000])
def test_a_full_disk_fails_the_run_and_loses_nothing_saved(
    program: Program, data: Path, disk: FullDisk, spare_bytes: int
) -> None:
    settings: dict[str, Any] = {"epochs": 8, "iters_per_checkpoint": 1, "iters_per_evaluation": 1000}
    expected = losses(program.trained(data, run="undisturbed", **settings))
    program.output = disk.folder / "logs"
    run = program.trained(data, "--max_steps", 3, **settings)
    disk.fill(leave=RESERVE_BYTES + spare_bytes)
    outcome = program.train(data, **settings | {"iters_per_evaluation": 2})
    assert outcome.code == 1, outcome.out
    assert outcome.err == ""
    assert "free some disk space and run the same command again" in outcome.out
    assert journal(run)[-1]["kind"] == "finished"
    assert (journal(run)[-1]["status"], summary(run)["status"]) == ("failed", "failed")
    assert "disk full" in summary(run)["reason"]
    assert load_checkpoint(newest(run))["progress"]["step"] >= 3
    disk.make_room()
    program.trained(data, **settings)
    assert summary(run)["status"] == "finished"
    assert losses(run) == expected
    assert not list(run.rglob("*.tmp"))


def test_a_full_disk_is_not_reported_as_the_end(
    program: Program, data: Path, disk: FullDisk, watchdog_pipe: Pipe
) -> None:
    program.output = disk.folder / "logs"
    program.output.mkdir()
    disk.fill(leave=RESERVE_BYTES + 600_000)
    assert program.train(data, epochs=8, iters_per_checkpoint=1).code == 1
    messages = watchdog_pipe.messages()
    assert ["step", 1] in messages
    assert ["end"] not in messages


def test_a_disk_full_from_the_start_is_reported_in_one_line(program: Program, data: Path, disk: FullDisk) -> None:
    program.output = disk.folder / "logs"
    run = program.trained(data, "--max_steps", 3)
    checkpoint = newest(run)
    disk.fill(leave=4096)
    outcome = program.train(data, "--learning_rate", 0.01)
    assert outcome.code == 1
    assert len(outcome.err.splitlines()) == 1
    assert os.strerror(errno.ENOSPC) in outcome.err
    assert load_checkpoint(checkpoint)["progress"]["step"] == 3
