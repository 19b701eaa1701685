"""Benchmarks of time and memory: training steps, speech, start-up, several processes."""
