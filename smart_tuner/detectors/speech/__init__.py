"""Detectors of trouble with attention, gate, durations and the flow."""
