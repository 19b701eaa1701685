"""Values at points of overlapping tiles of a sequence, and back: the two halves of a fast convolution.

A tile begins every `step` frames, the first one `before` frames ahead of the sequence; beyond its ends are zeros. A
matrix [points, width of a tile] makes values of frames. `summed_up` is `at_points`, transposed.
"""

from __future__ import annotations

import numba
import numpy as np
from torch import Tensor

from models.numba_threads import torchs_threads


def at_points(x: Tensor, matrix: Tensor, *, step: int, before: int, n_tiles: int) -> Tensor:
    """[B, T, C] → values of its tiles at every point, [points, B, tiles, C]"""
    found = x.new_empty(matrix.size(0), x.size(0), n_tiles, x.size(2))
    with torchs_threads():
        _at_points(x.contiguous().numpy(), matrix.contiguous().numpy(), step, before, found.numpy())
    return found


def summed_up(tiles: Tensor, matrix: Tensor, *, step: int, before: int, length: int) -> Tensor:
    """[points, B, tiles, C] → the sums of what every frame [B, T, C] is of its tiles"""
    found = tiles.new_empty(tiles.size(1), length, tiles.size(3))
    with torchs_threads():
        _sum_up(tiles.contiguous().numpy(), matrix.contiguous().numpy(), step, before, found.numpy())
    return found


@numba.njit(parallel=True, cache=True, nogil=True)
def _at_points(x: np.ndarray, matrix: np.ndarray, step: int, before: int, found: np.ndarray) -> None:
    (n_items, length, n_channels), (n_points, width), n_tiles = x.shape, matrix.shape, found.shape[2]
    for place in numba.prange(n_items * n_tiles):
        item, tile = divmod(np.int64(place), n_tiles)  # numba counts in unsigned numbers
        for point in range(n_points):
            values = found[point, item, tile]
            values[:] = 0
            for i in range(width):
                t, factor = tile * step + i - before, matrix[point, i]
                if factor != 0 and 0 <= t < length:
                    for c in range(n_channels):
                        values[c] += factor * x[item, t, c]


@numba.njit(parallel=True, cache=True, nogil=True)
def _sum_up(tiles: np.ndarray, matrix: np.ndarray, step: int, before: int, found: np.ndarray) -> None:
    (n_points, n_items, n_tiles, n_channels), width, length = tiles.shape, matrix.shape[1], found.shape[1]
    for place in numba.prange(n_items * length):
        item, t = divmod(np.int64(place), length)
        values = found[item, t]
        values[:] = 0
        first = max(0, (t + before - width) // step + 1)
        for tile in range(first, min(n_tiles, (t + before) // step + 1)):
            for point in range(n_points):
                factor = matrix[point, t + before - tile * step]
                if factor != 0:
                    for c in range(n_channels):
                        values[c] += factor * tiles[point, item, tile, c]
