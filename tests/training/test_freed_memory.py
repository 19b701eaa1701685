from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

PAGES = 64 * 2**20 // 4096
PROGRAM = """
import resource
import torch
from training.freed_memory import keep_freed_memory
keep_freed_memory()
for _ in range(4):  # a small thing may come to lie where the first one was
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(16 * 2**20)
    found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(found)
"""


def test_memory_that_was_freed_is_had_again_without_new_pages() -> None:
    assert platform.libc_ver()[0] == "glibc", "the tests are for Linux"
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert int(found.stdout) < PAGES / 10
