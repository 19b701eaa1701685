"""Settings of the OpenMP library, which reads them from the environment when torch loads it."""

from __future__ import annotations

import os

SPIN_COUNT = 1000
"""Looks of a waiting thread before it sleeps, some ten microseconds; by default 300,000.

Beside a busy program longer waiting takes the core from the thread that is waited for; with fewer looks the threads
sleep between any two small loops (`python -m benchmarks busy_machine`).
"""


def limit_spinning() -> None:
    """Call this before torch is imported; a value that is set already stays."""
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
