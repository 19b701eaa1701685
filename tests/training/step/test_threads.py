"""Choice of the number of threads from the cores that are free."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.step import threads
from training.step.threads import choose_threads


@pytest.mark.parametrize(
    ("n_cores", "n_busy", "limit", "expected"),
    [
        (4, 0.0, None, "4, no other program needs its cores"),
        (4, 0.3, None, "4, no other program needs its cores"),
        (4, 1.0, None, "3: other programs use 1.0 of 4 cores"),
        (4, 2.6, None, "1: other programs use 2.6 of 4 cores"),
        (2, 2.0, None, "1: other programs use 2.0 of 2 cores"),
        (4, 0.0, "200000 100000", "2: this container may use no more"),
        (4, 0.0, "50000 100000", "1: this container may use no more"),
        (64, 1.0, "400000 100000", "4: this container may use no more"),
        (64, 61.0, "400000 100000", "3: other programs use 61.0 of 64 cores"),
        (4, 0.0, "max 100000", "4, no other program needs its cores"),
    ],
)
def test_as_many_threads_as_cores_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_cores: int, n_busy: float, limit: str | None, expected: str
) -> None:
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr(threads, "CGROUP_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(n_cores)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_cores)
    monkeypatch.setattr(threads, "_cores_of_other_programs", lambda: n_busy)
    n_threads, reason = choose_threads()
    assert reason == expected and n_threads == int(expected[0])


def test_there_are_no_more_threads_than_torch_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OMP_NUM_THREADS says."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(threads, "_cores_of_other_programs", lambda: 0.0)
    assert choose_threads()[0] == 2


def test_containers_may_number_their_cores_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1000, 1001})
    assert threads._cores_of_other_programs() >= 0


def test_a_busy_process_is_noticed() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with_busy_process = threads._cores_of_other_programs()
    finally:
        busy.kill()
        busy.wait()
    assert with_busy_process > 0.2
