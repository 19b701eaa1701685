"""Accuracy of the teacher-forced gate (probability of the end), and the threshold that suits it best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports import DecodeReport

GATE_TOLERANCE_FRAMES = 5
"""Allowed distance from the true end; at least two decoder steps, where those are longer."""

GATE_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))


def classify_gate(decode: DecodeReport, threshold: float | None = None) -> str | None:
    """Return `gate_accuracy`, `gate_premature` or `gate_overrun`; None without a gate or if it is not finite.

    The end is the last frame of the first decoder step above the threshold; a gate that never opens is an overrun.
    """
    if decode.forced_gate is None or not np.isfinite(decode.forced_gate).all():
        return None
    open_steps = np.flatnonzero(decode.forced_gate > (decode.gate_threshold if threshold is None else threshold))
    if open_steps.size == 0:
        return "gate_overrun"
    frames_late = (int(open_steps[0]) + 1) * decode.n_frames_per_step - decode.recorded_mel.shape[1]
    if abs(frames_late) <= max(GATE_TOLERANCE_FRAMES, 2 * decode.n_frames_per_step):
        return "gate_accuracy"
    return "gate_premature" if frames_late < 0 else "gate_overrun"


def calibrated_gate_threshold(decodes: Sequence[DecodeReport]) -> float | None:
    """Return the threshold with which most gates are accurate, the middle one of several; None if none is accurate."""
    counts = {
        threshold: sum(classify_gate(decode, threshold) == "gate_accuracy" for decode in decodes)
        for threshold in GATE_THRESHOLDS
    }
    most = max(counts.values())
    best = [threshold for threshold, count in counts.items() if count == most]
    return best[len(best) // 2] if most else None
