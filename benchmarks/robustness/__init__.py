"""Benchmarks of what goes wrong: faults, kills, floods of messages, the cost of monitoring."""
