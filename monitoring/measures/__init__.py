"""Signals computed from training reports: alignment, gate, mel distance, score, and their history."""
