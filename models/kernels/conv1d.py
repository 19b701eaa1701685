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

from models.kernels.packed_linear import state_of
from models.kernels.winograd_tiles import at_points, summed_up

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
"""Where polynomials are evaluated, and at infinity."""
N_POINTS = len(POINTS) + 1
FEWEST_CHANNELS = 64
"""With fewer little is saved."""
MUCH_WORK = 5e8
"""Frames times weights of a tap; in half precision torch's own way back is as fast where there is less."""
MANY_WEIGHTS = 1_000_000
"""What is made of so many, and of what they are multiplied with, takes much memory and is made again in little time."""


def convolve(x: Tensor, layer: nn.Module) -> Tensor:
    """[B, T, n_in] by an nn.Conv1d → [B, T, n_out], as long, with zeros beyond both ends."""
    assert isinstance(layer, nn.Conv1d)
    weight, bias, (dilation,) = layer.weight, layer.bias, layer.dilation
    n_taps = weight.size(2)
    if n_taps == 1:
        return F.linear(x, weight.squeeze(2), bias)
    if dilation == 1 and n_taps in (3, 5) and _suits(x, weight):
        found: Tensor = PolynomialConvolution.apply(x, weight, bias, _transformed_once(layer, weight))
        return found
    beyond = dilation * (n_taps - 1)
    line = F.pad(x, (0, 0, beyond // 2, beyond - beyond // 2)).transpose(1, 2)
    if x.device.type != "cpu":
        return F.conv1d(line, weight, bias, dilation=dilation).transpose(1, 2)
    image = line.unsqueeze(2)  # with its channels last, which a CPU convolves without copying
    if torch.is_autocast_enabled("cpu") and dilation == 1 and x.dtype != torch.float64 and _is_much(x, weight):
        short = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            said: Tensor = HalfConvolution.apply(image.to(short), weight.to(short).unsqueeze(2))
        said = said.squeeze(2).transpose(1, 2)
        return said if bias is None else said + bias.to(short)
    return F.conv2d(image, weight.unsqueeze(2), bias, dilation=(1, dilation)).squeeze(2).transpose(1, 2)


def _suits(x: Tensor, weight: Tensor) -> bool:
    """In half precision the evaluated polynomials would lose too much; a GPU has kernels of its own."""
    is_wide = x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    return x.device.type == "cpu" and is_wide and min(weight.size(0), weight.size(1)) >= FEWEST_CHANNELS


def _is_much(x: Tensor, weight: Tensor) -> bool:
    return len(x) * x.size(1) * weight.size(0) * weight.size(1) >= MUCH_WORK


def _transformed_once(layer: nn.Conv1d, weight: Tensor) -> Tensor | None:
    """Who only speaks does not change its weights; None: they are of one pass."""
    if torch.is_grad_enabled() or weight is not layer._parameters.get("weight"):
        return None
    state = state_of(weight)
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
    """[B, T, n_in], [n_out, n_in, taps], [n_out] → [B, T, n_out]: by tiles of 8 inputs that give 9 - taps outputs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None, transformed: Tensor | None = None
    ) -> Tensor:
        n_taps, length = weight.size(2), x.size(1)
        step, of_output = N_POINTS + 1 - n_taps, _transforms(n_taps, x.dtype)[2]
        inputs, weights = _tiles(x, n_taps), _of_points(weight) if transformed is None else transformed
        made = (None, None) if weight.numel() >= MANY_WEIGHTS else (inputs, weights)
        ctx.save_for_backward(x, weight, *made)
        ctx.n_taps, ctx.has_bias = n_taps, bias is not None
        outputs = torch.bmm(inputs.flatten(1, 2), weights).view(*inputs.shape[:3], -1)
        found = summed_up(outputs, of_output, step=step, before=0, length=length)
        return found if bias is None else found.add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        """The same steps, transposed and in reverse."""
        (x, weight, inputs, weights), n_taps = ctx.saved_tensors, ctx.n_taps
        step, (of_input, of_weight, of_output) = N_POINTS + 1 - n_taps, _transforms(n_taps, gradient.dtype)
        if inputs is None:
            inputs, weights = _tiles(x, n_taps), _of_points(weight)
        outputs = at_points(gradient, of_output, step=step, before=0, n_tiles=inputs.size(2)).flatten(1, 2)
        of_weights = torch.bmm(inputs.flatten(1, 2).transpose(1, 2), outputs)
        d_weight = (of_weight.T @ of_weights.flatten(1)).view(n_taps, *of_weights.shape[1:]).permute(2, 1, 0)
        tiles = torch.bmm(outputs, weights.transpose(1, 2)).view(inputs.shape)
        d_x = summed_up(tiles, of_input, step=step, before=n_taps // 2, length=x.size(1))
        return d_x, d_weight, gradient.sum((0, 1)) if ctx.has_bias else None, None


def _tiles(x: Tensor, n_taps: int) -> Tensor:
    """[B, T, n_in] → [8, B, tiles, n_in]"""
    step = N_POINTS + 1 - n_taps
    of_input, n_tiles = _transforms(n_taps, x.dtype)[0], -(-x.size(1) // step)
    return at_points(x, of_input, step=step, before=n_taps // 2, n_tiles=n_tiles)


class HalfConvolution(torch.autograd.Function):
    """As conv2d of an image one pixel high, whose gradient torch finds in four times the time of this convolution."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(image, weight)
        return F.conv2d(image, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The image's by a convolution with the mirrored weights, the weights' by torch's own."""
        image, weight = ctx.saved_tensors
        beyond = weight.size(3) - 1
        wide = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, beyond, beyond)).permute(0, 3, 1, 2)
        of_image = F.conv2d(wide, weight.flip(3).transpose(0, 1))
        sizes = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
        of_weight = torch.ops.aten.convolution_backward(gradient, image, weight, None, *sizes, [False, True, False])[1]
        return of_image, of_weight


@cache
def _transforms(n_taps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of inputs [8, 8], weights [8, taps] and outputs [8, 9 - taps]."""

    def powers(n: int) -> Tensor:
        at_points = torch.tensor([[point**i for i in range(n)] for point in POINTS], dtype=torch.float64)
        at_infinity = torch.zeros(1, n, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([at_points, at_infinity])

    of_input, of_weight = torch.linalg.inv(powers(N_POINTS)).T, powers(n_taps)
    balance = (of_weight.abs().sum(1) / of_input.abs().sum(1)).sqrt().unsqueeze(1)  # so that rounding errors stay small
    of_output = powers(N_POINTS + 1 - n_taps)
    return (of_input * balance).to(dtype), (of_weight / balance).to(dtype), of_output.to(dtype)
