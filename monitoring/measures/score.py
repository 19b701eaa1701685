"""One number in [0, 1] for a voice, made of what a listener would notice on held-out utterances."""

from __future__ import annotations

import math

MEL_DISTANCE_SCALE = 1.2
"""Mel distance (natural-log units) at which the spectral part of the score has fallen to 1/e."""


def composite_tts_score(
    *, diagonality: float | None, ending_accuracy: float | None, stop_rate: float | None, mel_distance: float | None
) -> float | None:
    """Geometric mean of free-running alignment, stopping and spectrum, so that no strength hides a failure.

    `ending_accuracy` is gate_accuracy, or length_accuracy of a model without a gate. None when a part is missing: a
    score of what was not measured would be invented.
    """
    if diagonality is None or ending_accuracy is None or stop_rate is None or mel_distance is None:
        return None
    stopping = ending_accuracy * stop_rate
    spectrum = math.exp(-((mel_distance / MEL_DISTANCE_SCALE) ** 2))
    return float(diagonality**0.35 * stopping**0.25 * spectrum**0.40)
