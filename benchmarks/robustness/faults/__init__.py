"""Faults that are injected into trainings: bad settings, damaged recordings, events in the middle."""
