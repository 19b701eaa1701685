"""Distance of a decoded mel from its recording after dynamic time warping, so that the pace does not count."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np


def mel_distance(decoded: np.ndarray, recorded: np.ndarray) -> float | None:
    """Mean absolute difference of two log-mels [n_mel, frames] along their DTW path; None if empty or non-finite."""
    if decoded.ndim != 2 or recorded.ndim != 2 or decoded.shape[0] != recorded.shape[0]:
        raise ValueError(
            f"expected two mels [n_mel, frames] with equal n_mel, got {decoded.shape} and {recorded.shape}: "
            "compute both with the same audio hparams"
        )
    if 0 in decoded.shape or 0 in recorded.shape or not (np.isfinite(decoded).all() and np.isfinite(recorded).all()):
        return None
    return float(_compiled_warp()(_by_frame(decoded), _by_frame(recorded)))


def _by_frame(mel: np.ndarray) -> np.ndarray:
    """Turn [n_mel, frames] into contiguous float32 [frames, n_mel]."""
    return np.ascontiguousarray(mel.T, dtype=np.float32)


@functools.cache
def _compiled_warp() -> Callable[[np.ndarray, np.ndarray], float]:
    from numba import njit

    # fastmath lets the sum over channels use vector instructions; the inputs are known to be finite
    return njit(cache=True, fastmath={"reassoc", "contract", "nsz"})(_mean_along_warping_path)


def _mean_along_warping_path(first: np.ndarray, second: np.ndarray) -> float:
    """Mean cost of a cell on the path of least total cost through [T1, n_mel] and [T2, n_mel], from end to end.

    A step advances by one frame in the first, in the second or in both; on a tie, both.
    """
    channels = first.shape[1]
    columns = second.shape[0]
    total = np.full(columns + 1, np.inf)  # of the path ending at (row, column - 1); index 0 is a border
    length = np.zeros(columns + 1, dtype=np.int64)
    total[0] = 0.0
    for row in range(first.shape[0]):
        corner_total, corner_length = total[0], length[0]
        total[0] = np.inf
        for column in range(1, columns + 1):
            smallest, steps = corner_total, corner_length
            corner_total, corner_length = total[column], length[column]
            if corner_total < smallest:
                smallest, steps = corner_total, corner_length
            if total[column - 1] < smallest:
                smallest, steps = total[column - 1], length[column - 1]
            difference = np.float32(0.0)
            for channel in range(channels):
                difference += abs(first[row, channel] - second[column - 1, channel])
            total[column] = smallest + difference / channels
            length[column] = steps + 1
    return float(total[columns] / length[columns])
