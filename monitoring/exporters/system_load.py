"""Load of the machine, under the names that MLflow's own system monitor uses."""

from __future__ import annotations

import time
from typing import Any

SAMPLE_SECONDS = 10.0


class SystemLoad:
    """Sampler of processor, memory, disk, network and GPU load."""

    def __init__(self) -> None:
        self._monitors: list[Any] | None = None
        self._last_sample = 0.0

    def sample(self) -> dict[str, float]:
        """Return the load by name; empty within SAMPLE_SECONDS of the last sample."""
        if time.monotonic() - self._last_sample < SAMPLE_SECONDS:
            return {}
        self._last_sample = time.monotonic()
        self._monitors = self._monitors if self._monitors is not None else _make_monitors()
        load: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            load |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return load


def _make_monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        return [*monitors, GPUMonitor()]
    except RuntimeError:  # there is no NVIDIA GPU
        return monitors
