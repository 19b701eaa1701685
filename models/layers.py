"""Layers that several architectures share; their attribute names give the state_dict keys of the reference."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.choice import may_compile, uses_cpu_kernels
from models.kernels.conv1d import convolve
from models.kernels.lstm import LstmScan

# cuDNN wants LSTM weights in one chunk of memory and copies them there; ours are separate parameters on purpose.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")

Gain = Literal["linear", "relu", "tanh", "sigmoid"]


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """[B] lengths → [B, size] bool, true within each item's length."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision, which autocast produces, before values are summed, exponentiated or inverted."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def matmul_dtype(x: Tensor) -> torch.dtype:
    """Number format of matrix products: autocast's where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else at_least_float32(x).dtype


def without_autocast(x: Tensor) -> torch.autocast:
    """Context for products in which half precision would lose too much."""
    return torch.autocast(x.device.type, enabled=False)


def dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    """F.dropout; on a CPU with 16 random bits an element from a faster generator, which torch's generator seeds."""
    if not training or p == 0:
        return x
    if not uses_cpu_kernels(x):
        return F.dropout(x, p)
    n_dropped = min(round(p * 2**16), 2**16 - 1)
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16)
    mask = torch.from_numpy(words)[: x.numel()].view(x.shape) >= n_dropped - 2**15
    return x * mask.to(x.dtype).mul_(2**16 / (2**16 - n_dropped))


def run_lstm(x: Tensor, weights: list[Tensor]) -> Tensor:
    """All steps of a one-way LSTM from a zero state: [B, T, n_in] → [B, T, H]; weights in the order of LSTMCell."""
    dtype = matmul_dtype(x)
    if x.device.type == "cpu" and dtype == torch.bfloat16:  # torch.lstm computes a wrong gradient of wide layers there
        if not may_compile():
            with without_autocast(x):
                return run_lstm(x.float(), weights).to(dtype)
        input_weight, recurrent, *biases = weights
        inputs = F.linear(x, input_weight, biases[0] + biases[1]).transpose(0, 1)
        states: Tensor = LstmScan.apply(inputs, recurrent)
        return states.transpose(0, 1)
    zeros = x.new_zeros(1, x.size(0), weights[1].size(1))
    return torch.lstm(x, [zeros, zeros], weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


def run_bidirectional_lstm(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    """A bidirectional LSTM over padded items [B, T, n_in] → [B, T, 2·H], zero in the padding.

    A packed sequence gives the same, but on a CPU it steps through time in autograd, with one node per operation.
    """
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    forward = run_lstm(x, [getattr(lstm, name) for name in names])
    mirrored = reverse_within_lengths(x, lengths)
    backward = run_lstm(mirrored, [getattr(lstm, f"{name}_reverse") for name in names])
    mask = length_mask(lengths, x.size(1)).unsqueeze(2)
    return torch.cat([forward, reverse_within_lengths(backward, lengths)], dim=2).masked_fill(~mask, 0.0)


def reverse_within_lengths(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each item of [B, T, C] within its length; the padding stays in place."""
    index = torch.arange(x.size(1), device=x.device).expand(x.size(0), -1)
    mirrored = torch.where(index < lengths.unsqueeze(1), lengths.unsqueeze(1) - 1 - index, index)
    return x.gather(1, mirrored.unsqueeze(2).expand_as(x))


class Linear(nn.Module):
    """A linear layer, Xavier-initialised for the non-linearity that follows."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True, gain: Gain = "linear") -> None:
        super().__init__()
        self.linear_layer = nn.Linear(n_in, n_out, bias=bias)
        nn.init.xavier_uniform_(self.linear_layer.weight, gain=nn.init.calculate_gain(gain))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_layer(x)


class Conv(nn.Module):
    """A convolution over time that keeps the length: [B, T, n_in] → [B, T, n_out]."""

    def __init__(self, n_in: int, n_out: int, *, kernel_size: int, bias: bool = True, gain: Gain = "linear") -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel_size, padding=(kernel_size - 1) // 2, bias=bias)
        nn.init.xavier_uniform_(self.conv.weight, gain=nn.init.calculate_gain(gain))

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.conv)


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of [B, T, C] over the positions in the mask; the others become zero. Without a mask: all."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        rows = x.flatten(0, 1)
        indices = None if mask is None else mask.flatten().nonzero().squeeze(1)
        if indices is None or len(indices) == len(rows):
            return self._normalise(rows).view(x.shape)
        normalised = self._normalise(rows.index_select(0, indices))
        return normalised.new_zeros(rows.shape).index_copy(0, indices, normalised).view(x.shape)

    def _normalise(self, rows: Tensor) -> Tensor:
        """[positions, C]; a single position has no variance, so it does not enter the running statistics."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        statistics = (None, None) if self.training and len(rows) == 1 else (self.running_mean, self.running_var)
        momentum = self.momentum or 0.0
        return torch.batch_norm(rows, self.weight, self.bias, *statistics, self.training, momentum, self.eps, True)


class ConvNorm(nn.Sequential):
    """Convolution, then batch normalisation; padding (mask [B, T] false) does not influence the result."""

    def __init__(self, n_in: int, n_out: int, *, kernel_size: int, gain: Gain) -> None:
        super().__init__(Conv(n_in, n_out, kernel_size=kernel_size, gain=gain), MaskedBatchNorm(n_out))

    @property
    def norm(self) -> MaskedBatchNorm:
        norm = self[1]
        assert isinstance(norm, MaskedBatchNorm)
        return norm

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.norm(self[0](x if mask is None else x * mask.unsqueeze(2)), mask)


def expand_durations(durations: Tensor) -> Tensor:
    """Durations [B, N] → symbol index of each frame [B, T]; beyond an item's end that of its last symbol."""
    ends = durations.cumsum(1)
    frames = torch.arange(int(ends[:, -1].max()), device=durations.device).expand(len(durations), -1)
    return torch.searchsorted(ends, frames.contiguous(), right=True).clamp(max=durations.size(1) - 1)
