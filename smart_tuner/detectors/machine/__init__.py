"""Detectors of trouble with memory and disk."""
