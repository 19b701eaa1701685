"""Measuring, and where a person looks."""
