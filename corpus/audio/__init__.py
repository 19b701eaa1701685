"""Recordings to log-mel spectrograms."""
