"""The C library is asked to keep what is freed, since the next step wants it again."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Large tensors are otherwise given back to the system one by one, and handing them out again as pages of zeros
    takes a tenth of a training step on a CPU. Other C libraries than glibc have no such setting.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, -1)
