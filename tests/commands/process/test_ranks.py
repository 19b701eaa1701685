"""Processes that torchrun started meet and part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from files import REPOSITORY
from tests.commands.process.test_torchrun import free_port
from tests.commands.program import Program

MEMBER = """
from pathlib import Path
from commands.options import TrainOptions
from commands.process.ranks import assembled

with assembled(TrainOptions()) as rank_group:
    import torch._dynamo  # as much of torch does
    assert rank_group.gather(rank_group.rank) == [0, 1]
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(*(name for name in names if "gloo" in name))
"""


def test_those_who_have_parted_leave_no_thread_behind_that_would_abort_them_at_their_end() -> None:
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    members = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER],
            cwd=REPOSITORY,
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    assert [member.communicate(timeout=100)[0] for member in members] == ["\n", "\n"]


@pytest.mark.parametrize("size", ["two", "", "0", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(
    size: str, program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    program.train(data).refused(f"WORLD_SIZE is '{size}' in the environment")


@pytest.mark.parametrize("mode", ["check", "validate", "tune", "test", "report", "synthesize"])
def test_only_a_training_is_the_work_of_several(mode: str, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    program("--mode", mode).refused(f"--mode {mode} runs in one process")
