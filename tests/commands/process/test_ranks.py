"""Ranks join and leave a process group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from files import REPOSITORY
from tests.commands.process.test_torchrun import free_port
from tests.support.program import Program

RANK = """
from pathlib import Path
from commands.options import TrainOptions
from commands.process.ranks import joined_ranks

with joined_ranks(TrainOptions()) as rank_group:
    import torch._dynamo  # as much of torch does
    assert rank_group.gather(rank_group.rank) == [0, 1]
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(*(name for name in names if "gloo" in name))
"""


def test_leaving_the_group_leaves_no_gloo_thread_that_would_abort_the_exit() -> None:
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK],
            cwd=REPOSITORY,
            env=os.environ | environment | {"RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    assert [rank.communicate(timeout=100)[0] for rank in ranks] == ["\n", "\n"]


@pytest.mark.parametrize("size", ["two", "", "0", "-1"])
def test_a_world_size_that_is_no_positive_number_is_refused(
    size: str, program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    program.train(data).refused(f"WORLD_SIZE is '{size}' in the environment")


@pytest.mark.parametrize("mode", ["check", "validate", "tune", "test", "report", "synthesize"])
def test_other_modes_refuse_several_processes(mode: str, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    program("--mode", mode).refused(f"--mode {mode} runs in one process")
