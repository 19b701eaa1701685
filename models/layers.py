"""Layers that several architectures share; their names give the state_dict keys of the reference."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Gain = Literal["linear", "relu", "tanh", "sigmoid"]


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """[B] lengths → [B, size] bool, true where an item is real."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


class Linear(nn.Module):
    """A linear layer, Xavier-initialised for the non-linearity that follows."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True, gain: Gain = "linear") -> None:
        super().__init__()
        self.linear_layer = nn.Linear(n_in, n_out, bias=bias)
        nn.init.xavier_uniform_(self.linear_layer.weight, gain=nn.init.calculate_gain(gain))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_layer(x)


class Conv(nn.Module):
    """A convolution over time that keeps the length: [B, n_in, T] → [B, n_out, T]."""

    def __init__(self, n_in: int, n_out: int, *, kernel_size: int, bias: bool = True, gain: Gain = "linear") -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel_size, padding=(kernel_size - 1) // 2, bias=bias)
        nn.init.xavier_uniform_(self.conv.weight, gain=nn.init.calculate_gain(gain))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics see real positions only; without a mask, the ordinary one."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None or not self.training:
            return super().forward(x)
        count = mask.sum()
        mean = (x * mask).sum((0, 2)) / count
        centred = x - mean[:, None]
        variance = (centred.square() * mask).sum((0, 2)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        return centred * (self.weight * torch.rsqrt(variance + self.eps))[:, None] + self.bias[:, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum or 0.0)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum or 0.0)
        self.num_batches_tracked += 1


class ConvNorm(nn.Sequential):
    """Convolution, then batch normalisation; padding (mask false) neither leaks in nor counts."""

    def __init__(self, n_in: int, n_out: int, *, kernel_size: int, gain: Gain) -> None:
        super().__init__(Conv(n_in, n_out, kernel_size=kernel_size, gain=gain), MaskedBatchNorm(n_out))

    @property
    def norm(self) -> MaskedBatchNorm:
        norm = self[1]
        assert isinstance(norm, MaskedBatchNorm)
        return norm

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.norm(self[0](x if mask is None else x * mask), mask)
