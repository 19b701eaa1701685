"""Number of threads for torch's operations: as many as there are free cores when a run begins."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.5
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""`quota period` in microseconds, or `max period`: the processor time that a container may use."""


def choose_threads() -> tuple[int, str]:
    """The number of threads, and the reason as a text; threads on busy cores would make all others wait for them."""
    n_cores = len(os.sched_getaffinity(0))
    n_usable = min(n_cores, _container_limit(CGROUP_LIMIT))
    n_busy = _cores_of_other_programs()
    n_threads = max(1, round(min(n_usable, n_cores - n_busy)))
    if n_threads == n_cores:
        return n_threads, f"{n_threads}, one for each core"
    reason = (
        f"other programs use {n_busy:.1f} of {n_cores} cores" if n_busy >= 0.5 else "this container may use no more"
    )
    return n_threads, f"{n_threads}: {reason}"


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
    used = (cores[i].user + cores[i].nice + cores[i].system for i in os.sched_getaffinity(0))
    return float(sum(used) - own.user - own.system)
