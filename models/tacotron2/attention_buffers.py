"""Inputs, buffers and gradients of an attention scan, in the same layout for the CPU and the GPU version.

S decoder steps, B items, N tokens, H hidden units, E numbers per token of the memory, A of the attention, K taps of the
location convolution. "Product format" is the number format of products with the recurrent weights: bfloat16 under
autocast, otherwise that of the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ScanWeights(NamedTuple):
    """Weights that every step uses."""

    recurrent: Tensor  # [E + H, 4H] from context and hidden state to the gates (input, forget, candidate, output)
    query: Tensor  # [H, A]
    location: Tensor  # [2K, A] from the windows of last and cumulative attention around each token
    energy: Tensor  # [A]


class AttentionBuffers(NamedTuple):
    """Results of all steps, for later steps and for the gradient."""

    states: Tensor  # [S + 1, B, E + H] context and hidden state before each step, and after the last; product format
    cells: Tensor  # [S + 1, B, H]
    history: Tensor  # [S + 1, B, 2, N + K - 1] last and cumulative attention, with zeros on both sides
    gates: Tensor  # [S, B, 4H] after activation
    features: Tensor  # [S, B, N, A] tanh features from which energies are computed; product format

    @classmethod
    def allocate(
        cls, keep: Tensor, processed_memory: Tensor, *, memory_width: int, kernel_size: int
    ) -> AttentionBuffers:
        """Zeros in the formats of the dropout mask and of the processed memory (product format)."""
        (n_steps, batch, n_hidden), (_, n_tokens, _) = keep.shape, processed_memory.shape
        return cls(
            states=processed_memory.new_zeros(n_steps + 1, batch, memory_width + n_hidden),
            cells=keep.new_zeros(n_steps + 1, batch, n_hidden),
            history=keep.new_zeros(n_steps + 1, batch, 2, n_tokens + kernel_size - 1),
            gates=keep.new_empty(n_steps, batch, 4 * n_hidden),
            features=processed_memory.new_empty(n_steps, *processed_memory.shape),
        )

    @property
    def attention(self) -> Tensor:
        """[S, B, N]."""
        padding = (self.history.size(3) - self.features.size(2) + 1) // 2
        return self.history[1:, :, 0, padding : padding + self.features.size(2)]


class ScanInputs(NamedTuple):
    """Tensors that all steps read, forward and backward."""

    memory: Tensor  # [B, N, E] product format
    processed_memory: Tensor  # [B, N, A] the memory's share of the features; product format
    lengths: Tensor  # [B] tokens
    keep: Tensor  # [S, B, H] scaled dropout mask of the hidden state
    weights: ScanWeights

    @property
    def dtype(self) -> torch.dtype:
        """Product format."""
        return self.memory.dtype


class ScanGradients(NamedTuple):
    """Gradients from which those of inputs and large weights follow."""

    states: Tensor  # [S, B, E + H] complete for the context; of the hidden state at least the part from outside
    gates: Tensor  # [S, B, 4H] before activation; product format
    queries: Tensor  # [S, B, A]
    processed_memory: Tensor  # [B, N, A]
    location: Tensor  # [2K, A]
    energy: Tensor  # [A]
