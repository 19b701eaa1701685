"""Benchmarks of speed, quality and robustness that anyone can run: `python -m benchmarks NAME`."""
