"""Detectors of trouble with a model's speech: attention, gate, durations and flow."""
