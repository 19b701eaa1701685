"""Choice of the number of threads from the cores that are free."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.step import threads
from training.step.threads import choose_threads


@pytest.mark.parametrize(
    ("n_cores", "n_busy", "limit", "expected"),
    [
        (4, 0.0, None, "4, one for each core"),
        (4, 0.3, None, "4, one for each core"),
        (4, 1.0, None, "3: other programs use 1.0 of 4 cores"),
        (4, 2.6, None, "1: other programs use 2.6 of 4 cores"),
        (2, 2.0, None, "1: other programs use 2.0 of 2 cores"),
        (4, 0.0, "200000 100000", "2: this container may use no more"),
        (4, 0.0, "50000 100000", "1: this container may use no more"),
        (4, 0.0, "max 100000", "4, one for each core"),
    ],
)
def test_as_many_threads_as_cores_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_cores: int, n_busy: float, limit: str | None, expected: str
) -> None:
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr(threads, "CGROUP_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(n_cores)))
    monkeypatch.setattr(threads, "_cores_of_other_programs", lambda: n_busy)
    n_threads, reason = choose_threads()
    assert reason == expected and n_threads == int(expected[0])


def test_a_busy_process_is_noticed() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with_busy_process = threads._cores_of_other_programs()
    finally:
        busy.kill()
        busy.wait()
    assert with_busy_process > 0.2
