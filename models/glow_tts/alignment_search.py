"""Monotonic alignment search: the most likely way to speak all symbols in their order, each at least a frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.kernels.compile import in_numba
from models.kernels.openmp_loop import share


def monotonic_path(log_likelihood: Tensor, text_lengths: Tensor, mel_lengths: Tensor) -> Tensor:
    """Which symbol each frame belongs to, [B, T] int64, 0 in the padding.

    `log_likelihood` [B, T, N] says how well each frame fits each symbol; no item may have more symbols than frames.
    On a tie the path stays where it is, going backwards from the end.
    """
    if log_likelihood.is_cuda:
        return search_by_frame(log_likelihood, text_lengths, mel_lengths)
    if bool((text_lengths > mel_lengths).any()):
        raise ValueError("an utterance has more symbols than frames and cannot be aligned")
    value = np.ascontiguousarray(log_likelihood.detach().float().numpy())
    symbol_of = torch.zeros(log_likelihood.shape[:2], dtype=torch.int64)
    _search(torch.get_num_threads(), value, text_lengths.numpy(), mel_lengths.numpy(), symbol_of.numpy())
    return symbol_of


@in_numba
def _search_of(b: int, value: np.ndarray, n_symbols: np.ndarray, n_frames: np.ndarray, symbol_of: np.ndarray) -> None:
    came_from_before = np.empty((n_frames[b], value.shape[2]), dtype=np.bool_)
    _go_forward(value[b], n_symbols[b], n_frames[b], came_from_before)
    _go_back(came_from_before, n_symbols[b], n_frames[b], symbol_of[b])


@in_numba
def _search(n_threads: int, *given: np.ndarray) -> None:
    share(_search_of, n_threads, len(given[0]), given)


@in_numba
def _go_forward(value: np.ndarray, n_symbols: int, n_frames: int, came_from_before: np.ndarray) -> None:
    """The best sum of every symbol at each frame; only those between which a path can still run to the end."""
    best, previous = np.full((2, n_symbols + 1), -np.inf, dtype=np.float32)
    previous[0] = 0.0  # position i + 1 is symbol i; position 0 is where all paths begin
    for t in range(n_frames):
        low, high = max(0, n_symbols + t - n_frames), min(n_symbols, t + 1)
        for i in range(low, high):
            stay, move = previous[i + 1], previous[i]
            came_from_before[t, i] = move > stay
            best[i + 1] = (move if move > stay else stay) + value[t, i]
        previous[0] = best[0] = -np.inf
        best, previous = previous, best


@in_numba
def _go_back(came_from_before: np.ndarray, n_symbols: int, n_frames: int, symbol_of: np.ndarray) -> None:
    i = n_symbols - 1
    for t in range(n_frames - 1, -1, -1):
        symbol_of[t] = i
        if i > 0 and (i == t or came_from_before[t, i]):
            i -= 1


def search_by_frame(value: Tensor, n_symbols: Tensor, n_frames: Tensor) -> Tensor:
    """The same in tensor operations of a frame each, all items at once: the GPU's stream goes on without a stall."""
    n_items, longest, widest = value.shape
    place = torch.arange(widest, device=value.device)
    best = value.new_full((n_items, widest), -torch.inf)
    moves = torch.zeros(longest, n_items, widest, dtype=torch.bool, device=value.device)
    for t in range(longest):
        before = torch.nn.functional.pad(best[:, :-1], (1, 0), value=-torch.inf if t else 0.0)
        moves[t] = (before > best) | (place == t)
        best = torch.maximum(before, best) + value[:, t]
    symbol_of = torch.zeros(n_items, longest, dtype=torch.int64, device=value.device)
    at = n_symbols - 1
    for t in range(longest - 1, -1, -1):
        is_real = t < n_frames
        symbol_of[:, t] = torch.where(is_real, at, 0)
        moved = moves[t].gather(1, at.unsqueeze(1)).squeeze(1) & (at > 0)
        at = at - (is_real & moved).long()
    return symbol_of
