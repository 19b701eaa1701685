"""Benchmarks of voices: intelligibility, alignment with true phone times, gains of a search."""
