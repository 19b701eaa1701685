"""Benchmarks of robustness: injected faults, killed processes, floods of messages, the cost of monitoring."""
