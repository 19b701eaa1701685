"""Transforms to and from overlapping tiles of a sequence: the two outer steps of a Winograd convolution.

Tile k covers `width` frames from frame k · step - before on; frames outside of the sequence count as zeros. A matrix
[points, width] transforms each tile's frames to values at points. `from_tiles` is the transpose of `to_tiles`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.kernels.compile import jit
from models.kernels.openmp_loop import parallel_for


def to_tiles(x: Tensor, matrix: Tensor, *, step: int, before: int, n_tiles: int) -> Tensor:
    """[B, T, C] → values of every tile at every point, [points, B, tiles, C]."""
    tiles = x.new_empty(matrix.size(0), x.size(0), n_tiles, x.size(2))
    arrays = x.contiguous().numpy(), matrix.contiguous().numpy(), step, before, tiles.numpy()
    _to_tiles(torch.get_num_threads(), len(x) * n_tiles, *arrays)
    return tiles


def from_tiles(tiles: Tensor, matrix: Tensor, *, step: int, before: int, length: int) -> Tensor:
    """[points, B, tiles, C] → [B, T, C]: each frame is the sum over all tiles that cover it."""
    sums = tiles.new_empty(tiles.size(1), length, tiles.size(3))
    arrays = tiles.contiguous().numpy(), matrix.contiguous().numpy(), step, before, sums.numpy()
    _from_tiles(torch.get_num_threads(), tiles.size(1) * length, *arrays)
    return sums


@jit
def _to_one_tile(index: int, x: np.ndarray, matrix: np.ndarray, step: int, before: int, tiles: np.ndarray) -> None:
    (_, length, n_channels), (n_points, width), n_tiles = x.shape, matrix.shape, tiles.shape[2]
    item, tile = divmod(index, n_tiles)
    for point in range(n_points):
        values = tiles[point, item, tile]
        values[:] = 0
        for i in range(width):
            t, factor = tile * step + i - before, matrix[point, i]
            if factor != 0 and 0 <= t < length:
                for c in range(n_channels):
                    values[c] += factor * x[item, t, c]


@jit
def _to_tiles(n_threads: int, n_indices: int, *arguments: Any) -> None:
    parallel_for(_to_one_tile, n_threads, n_indices, arguments)


@jit
def _to_one_frame(index: int, tiles: np.ndarray, matrix: np.ndarray, step: int, before: int, sums: np.ndarray) -> None:
    (n_points, _, n_tiles, n_channels), width, length = tiles.shape, matrix.shape[1], sums.shape[1]
    item, t = divmod(index, length)
    values = sums[item, t]
    values[:] = 0
    first = max(0, (t + before - width) // step + 1)
    for tile in range(first, min(n_tiles, (t + before) // step + 1)):
        for point in range(n_points):
            factor = matrix[point, t + before - tile * step]
            if factor != 0:
                for c in range(n_channels):
                    values[c] += factor * tiles[point, item, tile, c]


@jit
def _from_tiles(n_threads: int, n_indices: int, *arguments: Any) -> None:
    parallel_for(_to_one_frame, n_threads, n_indices, arguments)
