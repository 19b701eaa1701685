"""Load of the machine."""

from __future__ import annotations

import time
from typing import Any

SYSTEM_METRICS_EVERY_SECONDS = 10.0


class SystemMetrics:
    """Load of the machine, by the names of MLflow's own monitor."""

    def __init__(self) -> None:
        self._monitors: list[Any] | None = None
        self._measured_at = 0.0

    def measured(self) -> dict[str, float]:
        """Empty until enough time has passed."""
        if time.monotonic() - self._measured_at < SYSTEM_METRICS_EVERY_SECONDS:
            return {}
        self._measured_at = time.monotonic()
        self._monitors = self._monitors if self._monitors is not None else _monitors()
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return found


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        return [*monitors, GPUMonitor()]
    except RuntimeError:  # there is no NVIDIA GPU
        return monitors
