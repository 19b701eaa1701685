"""Processes and signals: watchdog, heartbeat, ranks of torchrun."""
