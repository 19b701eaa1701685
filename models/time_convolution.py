"""Convolutions over time as matrix products, which is what a CPU does best.

Where kernels have 3 or 5 taps, Toom and Cook's way (Winograd's, to others) evaluates 8 values of the output's
polynomial where the direct sum takes 18 or 20 products: the same numbers, but for rounding, with half of the work.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
"""Where polynomials are evaluated, and at infinity."""
N_POINTS = len(POINTS) + 1
FEWEST_CHANNELS = 64
"""With fewer little is saved."""


def convolve(x: Tensor, layer: nn.Module) -> Tensor:
    """[B, T, n_in] by an nn.Conv1d → [B, T, n_out], as long, with zeros beyond both ends."""
    assert isinstance(layer, nn.Conv1d)
    weight, bias, (dilation,) = layer.weight, layer.bias, layer.dilation
    n_taps = weight.size(2)
    if n_taps == 1:
        return F.linear(x, weight.squeeze(2), bias)
    if dilation == 1 and n_taps in (3, 5) and _suits(x, weight):
        found: Tensor = PolynomialConvolution.apply(x, weight, _transformed_once(layer, weight))
        return found if bias is None else found + bias
    beyond = dilation * (n_taps - 1)
    padded = F.pad(x.transpose(1, 2), (beyond // 2, beyond - beyond // 2))
    return F.conv1d(padded, weight, bias, dilation=dilation).transpose(1, 2)


def _suits(x: Tensor, weight: Tensor) -> bool:
    """In half precision the evaluated polynomials would lose too much; a GPU has kernels of its own."""
    is_wide = x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    return x.device.type == "cpu" and is_wide and min(weight.size(0), weight.size(1)) >= FEWEST_CHANNELS


def _transformed_once(layer: nn.Conv1d, weight: Tensor) -> Tensor | None:
    """Who only speaks does not change its weights; None: they are of one pass."""
    if torch.is_grad_enabled() or weight is not layer._parameters.get("weight"):
        return None
    state = (weight._version, weight.data_ptr())
    kept: tuple[object, Tensor] | None = layer.__dict__.get("transformed")
    if kept is None or kept[0] != state:
        kept = layer.__dict__["transformed"] = state, _of_points(weight)
    return kept[1]


def _of_points(weight: Tensor) -> Tensor:
    """[n_out, n_in, taps] → [8, n_in, n_out]"""
    n_out, n_in, n_taps = weight.shape
    _, of_weight, _ = _transforms(n_taps, weight.dtype)
    return (of_weight @ weight.permute(2, 1, 0).reshape(n_taps, -1)).view(N_POINTS, n_in, n_out)


class PolynomialConvolution(torch.autograd.Function):
    """[B, T, n_in], [n_out, n_in, taps] → [B, T, n_out]: by tiles of 8 inputs, each of which gives 9 - taps outputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, transformed: Tensor | None = None) -> Tensor:
        n_out, n_in, n_taps = weight.shape
        step = N_POINTS + 1 - n_taps
        of_input, _, of_output = _transforms(n_taps, x.dtype)
        (batch, length, _), n_tiles = x.shape, -(-x.size(1) // step)
        padded = F.pad(x, (0, 0, n_taps // 2, n_tiles * step - length + n_taps // 2))
        tiles = padded.unfold(1, N_POINTS, step).permute(3, 0, 1, 2)
        inputs = (of_input @ tiles.reshape(N_POINTS, -1)).view(N_POINTS, batch * n_tiles, n_in)
        weights = _of_points(weight) if transformed is None else transformed
        ctx.save_for_backward(inputs, weights)
        ctx.length, ctx.n_taps = length, n_taps
        outputs = of_output @ torch.bmm(inputs, weights).view(N_POINTS, -1)
        return outputs.view(step, batch, n_tiles, n_out).permute(1, 2, 0, 3).reshape(batch, -1, n_out)[:, :length]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """The same steps, transposed and in reverse."""
        inputs, weights = ctx.saved_tensors
        (gradient,), n_taps = gradients, ctx.n_taps
        _, n_in, n_out = weights.shape
        step = N_POINTS + 1 - n_taps
        of_input, of_weight, of_output = _transforms(n_taps, gradient.dtype)
        batch, n_tiles = gradient.size(0), inputs.size(1) // gradient.size(0)
        padded = F.pad(gradient, (0, 0, 0, n_tiles * step - ctx.length))
        tiles = padded.view(batch, n_tiles, step, n_out).permute(2, 0, 1, 3).reshape(step, -1)
        outputs = (of_output.T @ tiles).view(N_POINTS, batch * n_tiles, n_out)
        of_weights = torch.bmm(inputs.transpose(1, 2), outputs).view(N_POINTS, -1)
        weight = (of_weight.T @ of_weights).view(n_taps, n_in, n_out).permute(2, 1, 0)
        of_tiles = of_input.T @ torch.bmm(outputs, weights.transpose(1, 2)).view(N_POINTS, -1)
        x = _add_up(of_tiles.view(N_POINTS, batch, n_tiles, n_in), step)
        return x[:, n_taps // 2 : n_taps // 2 + ctx.length], weight, None


def _add_up(tiles: Tensor, step: int) -> Tensor:
    """Overlapping tiles [8, B, n, C] → what they are tiles of, [B, (n + more) · step, C]."""
    _, batch, n_tiles, n_channels = tiles.shape
    n_more = -(-N_POINTS // step) - 1
    whole = tiles.new_zeros(batch, n_tiles + n_more, step, n_channels)
    for first in range(0, N_POINTS, step):
        part = tiles[first : first + step].permute(1, 2, 0, 3)
        whole[:, first // step : first // step + n_tiles, : part.size(2)] += part
    return whole.view(batch, -1, n_channels)


@cache
def _transforms(n_taps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of inputs [8, 8], weights [8, taps] and, back, outputs [9 - taps, 8]."""

    def powers(n: int) -> Tensor:
        at_points = torch.tensor([[point**i for i in range(n)] for point in POINTS], dtype=torch.float64)
        at_infinity = torch.zeros(1, n, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([at_points, at_infinity])

    of_input, of_weight = torch.linalg.inv(powers(N_POINTS)).T, powers(n_taps)
    balance = (of_weight.abs().sum(1) / of_input.abs().sum(1)).sqrt().unsqueeze(1)  # so that rounding errors stay small
    of_output = powers(N_POINTS + 1 - n_taps).T
    return (of_input * balance).to(dtype), (of_weight / balance).to(dtype), of_output.to(dtype)
