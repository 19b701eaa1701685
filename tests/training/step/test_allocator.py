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
found = []
for _ in range(40):  # small things come to lie between the first ones
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(16 * 2**20)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(found[20:]) // 20)
"""


def test_memory_that_was_freed_is_had_again_without_new_pages() -> None:
    assert platform.libc_ver()[0] == "glibc", "the tests are for Linux"
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(found.stdout) < PAGES / 10
