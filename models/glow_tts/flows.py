"""The flow decoder: invertible layers between mels and latents, each with its log-determinant."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from hparams import HParams
from models.kernels.conv1d import convolve
from models.kernels.weight_cache import weight_version
from models.layers import at_least_float32, dropout, without_autocast

MIN_VARIANCE = 1e-6


class ActNorm(nn.Module):
    """Scale and shift of each channel [B, C, T], initialised so that the first training batch comes out normalised."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.logs = nn.Parameter(torch.zeros(1, n_channels, 1))
        self.bias = nn.Parameter(torch.zeros(1, n_channels, 1))
        self.is_initialised = False
        self.register_load_state_dict_post_hook(_check_again)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.is_initialised:
            self._initialise(x.detach(), mask)
        return (self.bias + torch.exp(self.logs) * x) * mask, self.logs.sum() * mask.sum((1, 2))

    def inverse(self, z: Tensor, mask: Tensor) -> Tensor:
        return (z - self.bias) * torch.exp(-self.logs) * mask

    @torch.no_grad()
    def _initialise(self, x: Tensor, mask: Tensor) -> None:
        if bool(self.logs.any()) or bool(self.bias.any()):  # loaded from a checkpoint
            self.is_initialised = True
            return
        count = mask.sum()
        mean = (x * mask).sum((0, 2), keepdim=True) / count
        variance = ((x - mean).square() * mask).sum((0, 2), keepdim=True) / count
        if not bool(torch.isfinite(variance).all()):
            return  # the batch is broken: initialise with the next one
        self.logs.copy_(-0.5 * torch.log(variance.clamp(min=MIN_VARIANCE)))
        self.bias.copy_(-mean * torch.exp(self.logs))
        self.is_initialised = True


def _check_again(norm: ActNorm, _: object) -> None:
    """After loading weights, which may come from a model that had not been trained yet."""
    norm.is_initialised = False


class InvertibleConvolution(nn.Module):
    """Mix channels within groups of `n_splits`; half of a group comes from the first half of the channels."""

    def __init__(self, n_channels: int, n_splits: int) -> None:
        super().__init__()
        self.n_channels, self.n_splits = n_channels, n_splits
        rotation = torch.linalg.qr(torch.randn(n_splits, n_splits))[0]
        if torch.det(rotation) < 0:
            rotation[:, 0] *= -1
        self.weight = nn.Parameter(rotation)
        self._inverse: tuple[object, Tensor] | None = None

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weight = at_least_float32(self.weight)
        logdet = torch.linalg.slogdet(weight)[1] * (self.n_channels / self.n_splits)
        return self._mix(x, weight) * mask, logdet * mask.sum((1, 2))

    def inverse(self, z: Tensor, mask: Tensor) -> Tensor:
        return self._mix(z, self._inverse_weight()) * mask

    def _inverse_weight(self) -> Tensor:
        """The inverse, computed again when the weight changes; NaN for a singular weight, which ends no training."""
        version = weight_version(self.weight)
        if self._inverse is None or self._inverse[0] != version:
            inverse, is_singular = torch.linalg.inv_ex(self.weight.detach().double())
            self._inverse = version, inverse.masked_fill(is_singular != 0, torch.nan).to(self.weight.dtype)
        return self._inverse[1]

    def _mix(self, x: Tensor, weight: Tensor) -> Tensor:
        groups, half = self.n_channels // self.n_splits, self.n_splits // 2
        parts = x.view(x.size(0), 2, groups, half, -1)
        with without_autocast(x):
            mixed = torch.einsum("ijkl,bkglt->bigjt", weight.view(2, half, 2, half), parts)
        return mixed.reshape(x.shape)


class WaveNet(nn.Module):
    """Gated dilated convolutions with a skip connection from each layer: [B, T, hidden] → [B, T, hidden]."""

    def __init__(self, hparams: HParams, n_speaker_channels: int) -> None:
        super().__init__()
        width, kernel, self.n_layers = hparams.hidden_channels_dec, hparams.kernel_size_dec, hparams.num_block_layers
        self.width, self.p_dropout = width, hparams.dropout_p_dec
        self.in_layers, self.res_skip_layers = nn.ModuleList(), nn.ModuleList()
        for i in range(self.n_layers):
            self.in_layers.append(weight_norm(nn.Conv1d(width, 2 * width, kernel, dilation=hparams.dilation_rate**i)))
            is_last = i == self.n_layers - 1
            self.res_skip_layers.append(weight_norm(nn.Conv1d(width, width if is_last else 2 * width, 1)))
        if n_speaker_channels:
            self.cond_layer = weight_norm(nn.Conv1d(n_speaker_channels, 2 * width * self.n_layers, 1))

    def forward(self, x: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        speaker_terms = self._speaker_terms(speaker)
        skipped = torch.zeros_like(x)
        for i, (inner, outer) in enumerate(zip(self.in_layers, self.res_skip_layers, strict=True)):
            hidden = dropout(convolve(x, inner), self.p_dropout, training=self.training)
            signal, gate = (hidden if speaker_terms is None else hidden + speaker_terms[i]).chunk(2, dim=2)
            *residual, skip = convolve(torch.tanh(signal) * torch.sigmoid(gate), outer).split(self.width, dim=2)
            if residual:  # the last layer has none
                x = (x + residual[0]) * mask
            skipped = skipped + skip
        return skipped * mask

    def _speaker_terms(self, speaker: Tensor | None) -> tuple[Tensor, ...] | None:
        """[B, C, 1] → the term that each layer adds, [B, 1, 2 · hidden]."""
        return None if speaker is None else self.cond_layer(speaker).transpose(1, 2).chunk(self.n_layers, dim=2)


class Coupling(nn.Module):
    """Affine coupling: one half of the channels determines scale and shift of the other half."""

    def __init__(self, n_channels: int, hparams: HParams, n_speaker_channels: int) -> None:
        super().__init__()
        width = hparams.hidden_channels_dec
        self.sigmoid_scale = hparams.sigmoid_scale
        self.start = weight_norm(nn.Conv1d(n_channels // 2, width, 1))
        self.wn = WaveNet(hparams, n_speaker_channels)
        self.end = nn.Conv1d(width, n_channels, 1)
        nn.init.zeros_(self.end.weight)  # the layer starts as the identity
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, speaker: Tensor | None) -> tuple[Tensor, Tensor]:
        unchanged, changed = x.chunk(2, dim=1)
        logs, shift = self._scale_and_shift(unchanged, mask, speaker)
        z = torch.cat([unchanged, (shift + torch.exp(logs) * changed) * mask], dim=1)
        return z, (logs * mask).sum((1, 2))

    def inverse(self, z: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        unchanged, changed = z.chunk(2, dim=1)
        logs, shift = self._scale_and_shift(unchanged, mask, speaker)
        return torch.cat([unchanged, (changed - shift) * torch.exp(-logs) * mask], dim=1)

    def _scale_and_shift(self, unchanged: Tensor, mask: Tensor, speaker: Tensor | None) -> tuple[Tensor, Tensor]:
        x, mask = unchanged.transpose(1, 2), mask.transpose(1, 2)
        x = self.wn(convolve(x, self.start) * mask, mask, speaker)
        shift, logs = at_least_float32(convolve(x, self.end)).transpose(1, 2).chunk(2, dim=1)
        return torch.log(1e-6 + torch.sigmoid(logs + 2)) if self.sigmoid_scale else logs, shift


class FlowDecoder(nn.Module):
    """Mels [B, n_mel, T] ↔ latents [B, n_mel, T], with num_squeeze neighbouring frames squeezed into channels.

    T is a multiple of num_squeeze.
    """

    def __init__(self, hparams: HParams, n_speaker_channels: int) -> None:
        super().__init__()
        self.n_squeeze = hparams.num_squeeze
        n_channels = hparams.n_mel_channels * hparams.num_squeeze
        self.flows = nn.ModuleList()
        for _ in range(hparams.num_flow_blocks_dec):
            self.flows.append(ActNorm(n_channels))
            self.flows.append(InvertibleConvolution(n_channels, hparams.num_splits))
            self.flows.append(Coupling(n_channels, hparams, n_speaker_channels))

    def forward(self, mels: Tensor, mask: Tensor, speaker: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mels and their mask [B, 1, T] → latents and log-determinants [B]."""
        x, mask = self._squeeze(mels), mask[:, :, self.n_squeeze - 1 :: self.n_squeeze]
        logdet = x.new_zeros(x.size(0))
        for norm, convolution, coupling in self.blocks():
            for flow in (norm, convolution, partial(coupling, speaker=speaker)):
                x, flow_logdet = flow(x, mask)
                logdet = logdet + flow_logdet
        return self._unsqueeze(x), logdet

    def inverse(self, latents: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        x, mask = self._squeeze(latents), mask[:, :, self.n_squeeze - 1 :: self.n_squeeze]
        for norm, convolution, coupling in reversed(self.blocks()):
            x = norm.inverse(convolution.inverse(coupling.inverse(x, mask, speaker), mask), mask)
        return self._unsqueeze(x)

    @torch.no_grad()
    def reset_norms(self, parameters: list[Tensor]) -> None:
        """Set the norms back to these parameters, which they had before their initialisation."""
        values = iter(parameters)
        for norm, _, _ in self.blocks():
            for parameter in norm.parameters():
                parameter.copy_(next(values))
            norm.is_initialised = False

    def blocks(self) -> list[tuple[ActNorm, InvertibleConvolution, Coupling]]:
        layers = iter(self.flows)
        return cast(
            "list[tuple[ActNorm, InvertibleConvolution, Coupling]]", list(zip(layers, layers, layers, strict=True))
        )

    def _squeeze(self, x: Tensor) -> Tensor:
        """[B, C, T] → [B, C·n, T/n]: the channels of n neighbouring frames one after another."""
        batch, channels, _ = x.shape
        parts = x.view(batch, channels, -1, self.n_squeeze).permute(0, 3, 1, 2)
        return parts.reshape(batch, channels * self.n_squeeze, -1)

    def _unsqueeze(self, x: Tensor) -> Tensor:
        batch, channels, _ = x.shape
        parts = x.view(batch, self.n_squeeze, channels // self.n_squeeze, -1).permute(0, 2, 3, 1)
        return parts.reshape(batch, channels // self.n_squeeze, -1)
