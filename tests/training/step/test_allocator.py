from __future__ import annotations

import platform
import subprocess
import sys

from files import REPOSITORY

PAGES = 64 * 2**20 // 4096
PROGRAM = """
import resource
import torch
from training.step.allocator import keep_freed_memory
keep_freed_memory()
page_faults = []
for _ in range(40):  # the first allocations may still be fragmented by small ones
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(16 * 2**20)
    page_faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(page_faults[20:]) // 20)
"""


def test_freed_memory_is_reused_without_new_pages() -> None:
    assert platform.libc_ver()[0] == "glibc", "the tests expect Linux with glibc"
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(result.stdout) < PAGES / 10
