"""Measures of one attention matrix A [T decoder steps, N tokens], cut to its valid region; rows sum to 1."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHARP_FOCUS = 0.5
"""Focus of a sharp attention: more does not raise the diagonality."""


@dataclass(frozen=True)
class Alignment:
    """Measures of one attention, each in [0, 1], higher is better; None where a measure is undefined."""

    focus: float | None
    path_ratio: float | None
    coverage: float | None
    diagonality: float | None


def measure_alignment(attention: np.ndarray) -> Alignment:
    """Measure A [T, N]; an empty or non-finite matrix has no measures, T < N no path ratio and no diagonality."""
    weights = np.asarray(attention, dtype=np.float64)
    if weights.ndim != 2:
        raise ValueError(f"expected an attention [decoder steps, tokens], got shape {weights.shape}: pass one item")
    if weights.size == 0 or not np.isfinite(weights).all():
        return Alignment(None, None, None, None)
    focus = float(weights.max(axis=1).mean())
    path_ratio = _path_ratio(weights, focus)
    coverage = _coverage(weights)
    diagonality = None if path_ratio is None else path_ratio * coverage * min(1.0, focus / SHARP_FOCUS)
    return Alignment(focus, path_ratio, coverage, diagonality)


def best_monotonic_path(attention: np.ndarray) -> np.ndarray | None:
    """Return the token at each decoder step [T] of the monotonic path with the largest weight; None when T < N."""
    steps, tokens = attention.shape
    if steps < tokens or tokens == 0:
        return None
    max_move = max(1, -(-2 * tokens // steps))
    return _compiled_viterbi()(np.ascontiguousarray(attention, dtype=np.float64), max_move)


def _path_ratio(weights: np.ndarray, focus: float) -> float | None:
    """Mean weight along the best monotonic path / mean weight of the strongest token at each step."""
    path = best_monotonic_path(weights)
    if path is None or focus == 0:
        return None
    return float(weights[np.arange(len(path)), path].mean()) / focus


def _coverage(weights: np.ndarray) -> float:
    """Share of tokens whose largest weight is at least half of the median over steps of the largest weight."""
    typical_maximum = np.median(weights.max(axis=1))
    return float((weights.max(axis=0) >= 0.5 * typical_maximum).mean())


@functools.cache
def _compiled_viterbi() -> Callable[[np.ndarray, int], np.ndarray]:
    from numba import njit

    return njit(cache=True)(_viterbi)


def _viterbi(weights: np.ndarray, max_move: int) -> np.ndarray:
    """Return the path [T] from token 0 to N-1, moving 0..max_move tokens a step, of the largest total weight [T, N]."""
    steps, tokens = weights.shape
    best = np.full(tokens, -np.inf)
    best[0] = weights[0, 0]
    moves = np.zeros((steps, tokens), dtype=np.int64)
    for step in range(1, steps):
        for token in range(tokens - 1, -1, -1):  # downwards: lower tokens still hold the previous step's totals
            total, move = best[token], 0
            for candidate in range(1, min(max_move, token) + 1):
                if best[token - candidate] > total:
                    total, move = best[token - candidate], candidate
            best[token] = total + weights[step, token]
            moves[step, token] = move
    path = np.empty(steps, dtype=np.int64)
    path[-1] = tokens - 1
    for step in range(steps - 1, 0, -1):
        path[step - 1] = path[step] - moves[step, path[step]]
    return path
