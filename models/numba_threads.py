"""Loops that numba makes parallel take as many threads as torch does, one loop at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import torch

numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]
"""Its OpenMP layer would change how many threads torch has, and with that every number that is trained."""
_ONE_AT_A_TIME = threading.Lock()
"""From two threads at once that layer ends the process."""


@contextmanager
def torchs_threads() -> Iterator[None]:
    with _ONE_AT_A_TIME:
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        yield
