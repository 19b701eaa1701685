"""Score of a voice in [0, 1] from its alignment, endings and spectrum on held-out utterances."""

from __future__ import annotations

import math

MEL_DISTANCE_SCALE = 1.2
"""Mel distance (natural-log units) at which the spectral part of the score is 1/e."""


def composite_tts_score(
    *, diagonality: float | None, ending_accuracy: float | None, stop_rate: float | None, mel_distance: float | None
) -> float | None:
    """Weighted geometric mean of free-running alignment, endings and spectrum; None when a part was not measured.

    A geometric mean, so that a strong part does not hide a failed one. `ending_accuracy` is gate_accuracy, or
    length_accuracy for a model without a gate.
    """
    if diagonality is None or ending_accuracy is None or stop_rate is None or mel_distance is None:
        return None
    endings = ending_accuracy * stop_rate
    spectrum = math.exp(-((mel_distance / MEL_DISTANCE_SCALE) ** 2))
    return float(diagonality**0.35 * endings**0.25 * spectrum**0.40)
