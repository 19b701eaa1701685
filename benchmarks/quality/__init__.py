"""Benchmarks of the voices: how well they are understood, what a search finds."""
