"""Verdicts on interventions: forecasts, placebo gains, comparisons with untreated runs."""
