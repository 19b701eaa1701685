"""Processes of a training: watchdog, heartbeat, companion process, ranks under torchrun, stop signals, exit codes."""
