"""Measures of a run, its journal, and its displays: terminal, report, exporters and messages."""
