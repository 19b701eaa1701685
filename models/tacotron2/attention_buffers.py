"""What the steps of an attention scan are given, and what they leave; the same on every machine."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ScanWeights(NamedTuple):
    """What every step uses."""

    recurrent: Tensor  # [E + H, 4H] of context and hidden state to the LSTM's gates (in, forget, candidate, out)
    query: Tensor  # [H, A]
    location: Tensor  # [2K, A] of the last and the summed attention around each token
    energy: Tensor  # [A]


class Tape(NamedTuple):
    """What the steps leave, for those after them and for the way back."""

    states: Tensor  # [S + 1, B, E + H] context and hidden state before each step, and after the last; short
    cells: Tensor  # [S + 1, B, H]
    looked: Tensor  # [S + 1, B, 2, N + K - 1] the last attention and the sum of all, with zeros on both sides
    gates: Tensor  # [S, B, 4H] activated
    features: Tensor  # [S, B, N, A] tanh of what the energies are made of; short

    @classmethod
    def blank(cls, keep: Tensor, projected: Tensor, *, width: int, kernel_size: int) -> Tape:
        """As wide as the dropout mask, or as short as the memory's share of the features."""
        (n_steps, batch, n_hidden), (_, n_tokens, _) = keep.shape, projected.shape
        return cls(
            states=projected.new_zeros(n_steps + 1, batch, width + n_hidden),
            cells=keep.new_zeros(n_steps + 1, batch, n_hidden),
            looked=keep.new_zeros(n_steps + 1, batch, 2, n_tokens + kernel_size - 1),
            gates=keep.new_empty(n_steps, batch, 4 * n_hidden),
            features=projected.new_empty(n_steps, *projected.shape),
        )

    @property
    def attention(self) -> Tensor:
        """[S, B, N]"""
        before = (self.looked.size(3) - self.features.size(2) + 1) // 2
        return self.looked[1:, :, 0, before : before + self.features.size(2)]


class Given(NamedTuple):
    """What the steps read, there and back; "short" is the number format of products with the recurrent weights."""

    memory: Tensor  # [B, N, E] short
    projected: Tensor  # [B, N, A] the memory's share of the features; short
    lengths: Tensor  # [B] tokens
    keep: Tensor  # [S, B, H] scaled dropout mask of the hidden state
    weights: ScanWeights

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.memory.dtype


class StepGradients(NamedTuple):
    """What the steps leave on their way back."""

    states: Tensor  # [S, B, E + H] of context, and at least what came from elsewhere of the hidden state; short
    gates: Tensor  # [S, B, 4H] before they were activated; short
    queries: Tensor  # [S, B, A]
    projected: Tensor  # [B, N, A]
    location: Tensor  # [2K, A]
    energy: Tensor  # [A]
