"""Signals computed from reports: alignment, gate, distance, score, and their history."""
