"""Student's t: how far a value must lie from the mean of few others to be told from chance."""

from __future__ import annotations


def student_limit(error_rate: float, freedom: int) -> float:
    """Value that Student's t exceeds with this probability."""
    from scipy.stats import t

    return float(t.isf(error_rate, freedom))
