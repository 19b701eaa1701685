"""Values at points of overlapping tiles of a sequence, and back: the two halves of a fast convolution.

A tile begins every `step` frames, the first one `before` frames ahead of the sequence; beyond its ends are zeros. A
matrix [points, width of a tile] makes values of frames. `summed_up` is `at_points`, transposed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.kernels.compile import in_numba
from models.kernels.openmp_loop import share


def at_points(x: Tensor, matrix: Tensor, *, step: int, before: int, n_tiles: int) -> Tensor:
    """[B, T, C] → values of its tiles at every point, [points, B, tiles, C]"""
    found = x.new_empty(matrix.size(0), x.size(0), n_tiles, x.size(2))
    given = x.contiguous().numpy(), matrix.contiguous().numpy(), step, before, found.numpy()
    _at_points(torch.get_num_threads(), len(x) * n_tiles, *given)
    return found


def summed_up(tiles: Tensor, matrix: Tensor, *, step: int, before: int, length: int) -> Tensor:
    """[points, B, tiles, C] → the sums of what every frame [B, T, C] is of its tiles"""
    found = tiles.new_empty(tiles.size(1), length, tiles.size(3))
    given = tiles.contiguous().numpy(), matrix.contiguous().numpy(), step, before, found.numpy()
    _sum_up(torch.get_num_threads(), tiles.size(1) * length, *given)
    return found


@in_numba
def _at_points_of(place: int, x: np.ndarray, matrix: np.ndarray, step: int, before: int, found: np.ndarray) -> None:
    (_, length, n_channels), (n_points, width), n_tiles = x.shape, matrix.shape, found.shape[2]
    item, tile = divmod(place, n_tiles)
    for point in range(n_points):
        values = found[point, item, tile]
        values[:] = 0
        for i in range(width):
            t, factor = tile * step + i - before, matrix[point, i]
            if factor != 0 and 0 <= t < length:
                for c in range(n_channels):
                    values[c] += factor * x[item, t, c]


@in_numba
def _at_points(n_threads: int, n_places: int, *given: Any) -> None:
    share(_at_points_of, n_threads, n_places, given)


@in_numba
def _sum_up_of(place: int, tiles: np.ndarray, matrix: np.ndarray, step: int, before: int, found: np.ndarray) -> None:
    (n_points, _, n_tiles, n_channels), width, length = tiles.shape, matrix.shape[1], found.shape[1]
    item, t = divmod(place, length)
    values = found[item, t]
    values[:] = 0
    first = max(0, (t + before - width) // step + 1)
    for tile in range(first, min(n_tiles, (t + before) // step + 1)):
        for point in range(n_points):
            factor = matrix[point, t + before - tile * step]
            if factor != 0:
                for c in range(n_channels):
                    values[c] += factor * tiles[point, item, tile, c]


@in_numba
def _sum_up(n_threads: int, n_places: int, *given: Any) -> None:
    share(_sum_up_of, n_threads, n_places, given)
