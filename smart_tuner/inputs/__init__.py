"""Inputs of the supervisor: the run's facts, the view of its signals, and outliers."""
