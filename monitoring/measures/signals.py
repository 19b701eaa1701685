"""Signals of training steps: numbers with one definition each, None where a number is missing or not finite."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from reports import StepReport

OUTLIER_RATIO = 5.0
"""An utterance is an outlier if its loss is at least this many times the median of its batch."""

Signals = dict[str, float | None]


def step_signals(report: StepReport) -> Signals:
    """Return the signals of one step; without a finite loss there is no gradient norm, which would spoil statistics."""
    total_loss = finite(report.total_loss)
    return {
        **{name: finite(value) for name, value in {**report.loss_parts, **report.measures}.items()},
        "total_loss": total_loss,
        "gradient_norm": None if total_loss is None else finite(report.gradient_norm),
        "learning_rate": finite(report.learning_rate),
        "update_ratio": finite(report.update_ratio),
        "frames_per_second": finite(report.frames_per_second),
        "data_wait_share": finite(report.data_wait_share),
        "memory_bytes": float(report.memory_bytes),
        "nonfinite_steps": float(report.nonfinite_steps),
        "out_of_memory_steps": float(report.out_of_memory_steps),
        "outlier_utterances": float(len(outlier_utterances(report))),
    }


def outlier_utterances(report: StepReport) -> dict[str, float | None]:
    """Return outliers as multiples of the batch's median loss, by utterance id; None for a loss that is not finite.

    In a batch without any finite loss the model is broken and no utterance is an outlier.
    """
    finite_losses = [loss for loss in report.utterance_losses if math.isfinite(loss)]
    if not finite_losses:
        return {}
    median = statistics.median(finite_losses)
    losses = dict(zip(report.utterance_ids, report.utterance_losses, strict=True))
    return {
        id_: loss / median if math.isfinite(loss) else None
        for id_, loss in losses.items()
        if not math.isfinite(loss) or loss >= OUTLIER_RATIO * median > 0
    }


def finite(value: float | None) -> float | None:
    """Return the value as a float, or None for a value that is not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
