"""Processes that torchrun started meet and part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.commands.test_torchrun import free_port

MEMBER = """
import argparse
from pathlib import Path
from commands.ranks import assembled

with assembled(argparse.Namespace(config=Path("smart_tuner/config.yaml"))) as crew:
    import torch._dynamo  # as the first optimizer does
    assert crew.gather(crew.rank) == [0, 1]
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(*(name for name in names if "gloo" in name))
"""


def test_those_who_have_parted_leave_no_thread_behind_that_would_abort_them_at_their_end() -> None:
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    members = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER],
            cwd=Path(__file__).parents[2],
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    assert [member.communicate(timeout=100)[0] for member in members] == ["\n", "\n"]
