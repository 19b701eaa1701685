"""Loops that numba makes parallel take as many threads as torch does."""

from __future__ import annotations

import numba
import torch

numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]
"""Its OpenMP would change how many threads torch has, and with that every number that is trained."""


def take_torchs_threads() -> None:
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
