"""Convolutions over time as matrix products, which a CPU computes fastest.

Kernels of 3 or 5 taps use the Toom-Cook algorithm (known as Winograd convolution): 8 products where the direct sum
takes 18 or 20. The result is the same but for rounding, with half of the work. They replace torch's conv1d: a training
step of full-size GlowTTS is 1.1 to 1.9 times as fast, depending on the processor. `Bfloat16Convolution` replaces
torch's gradient of a wide bfloat16 convolution, 37 ms, by another convolution, 9 ms.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.choice import uses_cpu_kernels
from models.kernels.weight_cache import weight_version
from models.kernels.winograd_tiles import from_tiles, to_tiles

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
"""Points at which the polynomials are evaluated, in addition to infinity."""
N_POINTS = len(POINTS) + 1
WINOGRAD_MIN_CHANNELS = 64
"""With fewer channels the transforms cost as much as they save."""
BFLOAT16_MIN_WORK = 5e8
"""Frames times weights of one tap; below this, torch's own bfloat16 gradient is as fast as `Bfloat16Convolution`."""
RECOMPUTE_MIN_WEIGHTS = 1_000_000
"""From this size on, transforms are computed again for the gradient: keeping them would take much memory."""


def convolve(x: Tensor, layer: nn.Module) -> Tensor:
    """Apply an nn.Conv1d to [B, T, n_in] → [B, T, n_out], of the same length, with zeros beyond both ends."""
    assert isinstance(layer, nn.Conv1d)
    weight, bias, (dilation,) = layer.weight, layer.bias, layer.dilation
    n_taps = weight.size(2)
    if n_taps == 1:
        return F.linear(x, weight.squeeze(2), bias)
    if dilation == 1 and n_taps in (3, 5) and _suits_winograd(x, weight):
        result: Tensor = WinogradConvolution.apply(x, weight, bias, _cached_transform(layer, weight))
        return result
    padding = dilation * (n_taps - 1)
    line = F.pad(x, (0, 0, padding // 2, padding - padding // 2)).transpose(1, 2)
    if not uses_cpu_kernels(x):
        return F.conv1d(line, weight, bias, dilation=dilation).transpose(1, 2)
    image = line.unsqueeze(2)  # an image with channels last, which a CPU convolves without copying
    if torch.is_autocast_enabled("cpu") and dilation == 1 and x.dtype != torch.float64 and _is_large(x, weight):
        short = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            convolved: Tensor = Bfloat16Convolution.apply(image.to(short), weight.to(short).unsqueeze(2))
        convolved = convolved.squeeze(2).transpose(1, 2)
        return convolved if bias is None else convolved + bias.to(short)
    return F.conv2d(image, weight.unsqueeze(2), bias, dilation=(1, dilation)).squeeze(2).transpose(1, 2)


def _suits_winograd(x: Tensor, weight: Tensor) -> bool:
    """Half precision is excluded, because the transforms would lose too much; a GPU has kernels of its own."""
    is_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    return uses_cpu_kernels(x) and is_float32 and min(weight.size(0), weight.size(1)) >= WINOGRAD_MIN_CHANNELS


def _is_large(x: Tensor, weight: Tensor) -> bool:
    return len(x) * x.size(1) * weight.size(0) * weight.size(1) >= BFLOAT16_MIN_WORK


def _cached_transform(layer: nn.Conv1d, weight: Tensor) -> Tensor | None:
    """The transformed weight while the layer is not trained; None where the weight belongs to one pass only."""
    if torch.is_grad_enabled() or weight is not layer._parameters.get("weight"):
        return None
    version = weight_version(weight)
    cached: tuple[object, Tensor] | None = layer.__dict__.get("transformed")
    if cached is None or cached[0] != version:
        cached = layer.__dict__["transformed"] = version, _transform_weight(weight)
    return cached[1]


def _transform_weight(weight: Tensor) -> Tensor:
    """[n_out, n_in, taps] → [8, n_in, n_out]."""
    n_out, n_in, n_taps = weight.shape
    _, weight_transform, _ = _transforms(n_taps, weight.dtype)
    return (weight_transform @ weight.permute(2, 1, 0).reshape(n_taps, -1)).view(N_POINTS, n_in, n_out)


class WinogradConvolution(torch.autograd.Function):
    """[B, T, n_in], [n_out, n_in, taps], [n_out] → [B, T, n_out], by tiles of 8 inputs that give 9 - taps outputs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None, transformed: Tensor | None = None
    ) -> Tensor:
        n_taps, length = weight.size(2), x.size(1)
        step, output_transform = N_POINTS + 1 - n_taps, _transforms(n_taps, x.dtype)[2]
        inputs, weights = _input_tiles(x, n_taps), _transform_weight(weight) if transformed is None else transformed
        saved = (None, None) if weight.numel() >= RECOMPUTE_MIN_WEIGHTS else (inputs, weights)
        ctx.save_for_backward(x, weight, *saved)
        ctx.n_taps, ctx.has_bias = n_taps, bias is not None
        outputs = torch.bmm(inputs.flatten(1, 2), weights).view(*inputs.shape[:3], -1)
        result = from_tiles(outputs, output_transform, step=step, before=0, length=length)
        return result if bias is None else result.add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        """The steps of the forward pass, transposed and in reverse order."""
        (x, weight, inputs, weights), n_taps = ctx.saved_tensors, ctx.n_taps
        step = N_POINTS + 1 - n_taps
        input_transform, weight_transform, output_transform = _transforms(n_taps, gradient.dtype)
        if inputs is None:
            inputs, weights = _input_tiles(x, n_taps), _transform_weight(weight)
        d_outputs = to_tiles(gradient, output_transform, step=step, before=0, n_tiles=inputs.size(2)).flatten(1, 2)
        d_weights = torch.bmm(inputs.flatten(1, 2).transpose(1, 2), d_outputs)
        d_weight = (weight_transform.T @ d_weights.flatten(1)).view(n_taps, *d_weights.shape[1:]).permute(2, 1, 0)
        d_inputs = torch.bmm(d_outputs, weights.transpose(1, 2)).view(inputs.shape)
        d_x = from_tiles(d_inputs, input_transform, step=step, before=n_taps // 2, length=x.size(1))
        return d_x, d_weight, gradient.sum((0, 1)) if ctx.has_bias else None, None


def _input_tiles(x: Tensor, n_taps: int) -> Tensor:
    """[B, T, n_in] → [8, B, tiles, n_in]."""
    step = N_POINTS + 1 - n_taps
    input_transform, n_tiles = _transforms(n_taps, x.dtype)[0], -(-x.size(1) // step)
    return to_tiles(x, input_transform, step=step, before=n_taps // 2, n_tiles=n_tiles)


class Bfloat16Convolution(torch.autograd.Function):
    """conv2d of an image one pixel high; its gradient takes a quarter of the time of torch's own on a CPU."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(image, weight)
        return F.conv2d(image, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The image's by a convolution with the mirrored weights, the weights' by torch's own."""
        image, weight = ctx.saved_tensors
        padding = weight.size(3) - 1
        padded = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, padding, padding)).permute(0, 3, 1, 2)
        d_image = F.conv2d(padded, weight.flip(3).transpose(0, 1))
        sizes = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
        d_weight = torch.ops.aten.convolution_backward(gradient, image, weight, None, *sizes, [False, True, False])[1]
        return d_image, d_weight


@cache
def _transforms(n_taps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices that transform inputs [8, 8], weights [8, taps] and outputs [8, 9 - taps]."""

    def powers(n: int) -> Tensor:
        at_points = torch.tensor([[point**i for i in range(n)] for point in POINTS], dtype=torch.float64)
        at_infinity = torch.zeros(1, n, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([at_points, at_infinity])

    inputs, weights, outputs = torch.linalg.inv(powers(N_POINTS)).T, powers(n_taps), powers(N_POINTS + 1 - n_taps)
    balance = (weights.abs().sum(1) / inputs.abs().sum(1)).sqrt().unsqueeze(1)  # keeps rounding errors small
    return (inputs * balance).to(dtype), (weights / balance).to(dtype), outputs.to(dtype)
