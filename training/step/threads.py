"""Number of threads for torch's operations: as many as there are free cores when a run begins."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import torch

SAMPLE_SECONDS = 0.5
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""`quota period` in microseconds, or `max period`: the processor time that a container may use."""


def choose_threads() -> tuple[int, str]:
    """The number of threads, and the reason as a text; threads on busy cores would make all others wait for them.

    It is at most torch's present number, which follows OMP_NUM_THREADS.
    """
    n_most, n_cores = torch.get_num_threads(), len(_own_cores())
    n_allowed = min(n_most, _container_limit(CGROUP_LIMIT))
    n_busy = _cores_of_other_programs()
    n_free = max(1, round(n_cores - n_busy))
    if n_free < n_allowed:
        return n_free, f"{n_free}: other programs use {n_busy:.1f} of {n_cores} cores"
    if n_allowed < n_most:
        return n_allowed, f"{n_allowed}: this container may use no more"
    return n_most, f"{n_most}, no other program needs its cores"


def _container_limit(path: Path) -> int:
    quota, period = path.read_text(encoding="utf-8").split() if path.is_file() else ("max", "1")
    return 2**31 if quota == "max" else max(1, int(quota) // int(period))


def _cores_of_other_programs() -> float:
    """Mean number of this process's cores that other processes use, over a short time."""
    others, started = _busy_seconds_of_others(), time.perf_counter()
    time.sleep(SAMPLE_SECONDS)
    return max(0.0, _busy_seconds_of_others() - others) / (time.perf_counter() - started)


def _busy_seconds_of_others() -> float:
    cores, own = psutil.cpu_times(percpu=True), psutil.Process().cpu_times()
    known = [cores[i] for i in _own_cores() if i < len(cores)] or cores  # some containers number their cores anew
    return float(sum(core.user + core.nice + core.system for core in known) - own.user - own.system)


def _own_cores() -> list[int]:
    """Cores that this process may run on; all where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
