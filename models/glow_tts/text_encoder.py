"""Symbols → where each of them lies in the latent space, and how long it takes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hparams import HParams
from models.kernels.conv1d import convolve
from models.layers import dropout, precise

PRENET_LAYERS, PRENET_KERNEL_SIZE, P_PRENET_DROPOUT = 3, 5, 0.5
DURATION_KERNEL_SIZE = 3
NEVER = -1e4  # as a score before the softmax


def _convolved(x: Tensor, layer: nn.Module) -> Tensor:
    """[B, C, N] → [B, C', N]"""
    return convolve(x.transpose(1, 2), layer).transpose(1, 2)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of [B, C, T]."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1, n_channels, 1), 0.1))
        self.beta = nn.Parameter(torch.zeros(1, n_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = precise(x)
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-4)
        return centred * scale * self.gamma + self.beta


class Prenet(nn.Module):
    """Convolutions that know a symbol's neighbours, around which the input runs: [B, C, N] → [B, C, N]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(nn.Conv1d(width, width, PRENET_KERNEL_SIZE) for _ in range(PRENET_LAYERS))
        self.norm_layers = nn.ModuleList(ChannelNorm(width) for _ in range(PRENET_LAYERS))
        self.proj = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        found = x
        for convolution, norm in zip(self.conv_layers, self.norm_layers, strict=True):
            found = F.relu(norm(_convolved(found * mask, convolution) * mask))
            found = dropout(found, P_PRENET_DROPOUT, training=self.training)
        return (x + _convolved(found, self.proj)) * mask


class RelativeAttention(nn.Module):
    """Self-attention of several heads that knows how far apart two symbols are, within a window."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        width = hparams.hidden_channels_enc
        self.n_heads, self.p_dropout = hparams.encoder_num_heads, hparams.encoder_dropout_p
        self.window = hparams.encoder_rel_attn_window_size
        self.conv_q, self.conv_k, self.conv_v, self.conv_o = (nn.Conv1d(width, width, 1) for _ in range(4))
        for layer in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(layer.weight)
        if self.window is not None:
            size = width // self.n_heads
            self.emb_rel_k, self.emb_rel_v = (
                nn.Parameter(torch.randn(1, 2 * self.window + 1, size) * size**-0.5) for _ in range(2)
            )

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """[B, C, N], with which symbols may see each other [B, 1, N, N] → [B, C, N]."""
        query, key, value = (self._heads(_convolved(x, layer)) for layer in (self.conv_q, self.conv_k, self.conv_v))
        query = query / math.sqrt(query.size(3))
        scores = query @ key.transpose(2, 3)
        near = None if self.window is None else self._near(x.size(2), x.device)
        if near is not None:
            scores = scores + self._scores_of_distance(query, near)
        attention = torch.softmax(scores.masked_fill(~allowed, NEVER), dim=3)
        attention = dropout(attention, self.p_dropout, training=self.training)
        found = attention @ value
        if near is not None:
            found = found + self._values_of_distance(attention, near)
        return _convolved(found.transpose(2, 3).reshape(x.shape), self.conv_o)

    def _heads(self, x: Tensor) -> Tensor:
        """[B, C, N] → [B, heads, N, C / heads]."""
        return x.view(x.size(0), self.n_heads, -1, x.size(2)).transpose(2, 3)

    def _near(self, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """For each pair of symbols [N, N] which distance it is, and whether that lies within the window."""
        assert self.window is not None
        place = torch.arange(n, device=device)
        distance = place - place[:, None]
        return (distance + self.window).clamp(0, 2 * self.window), distance.abs() <= self.window

    def _scores_of_distance(self, query: Tensor, near: tuple[Tensor, Tensor]) -> Tensor:
        which, is_near = near
        by_distance = query @ self.emb_rel_k[0].t()  # [B, heads, N, 2·window + 1]
        scores = by_distance.gather(3, which.expand(*query.shape[:2], -1, -1))
        return scores * is_near

    def _values_of_distance(self, attention: Tensor, near: tuple[Tensor, Tensor]) -> Tensor:
        which, is_near = near
        by_distance = attention.new_zeros(*attention.shape[:3], self.emb_rel_v.size(1))
        by_distance = by_distance.scatter_add(3, which.expand_as(attention), attention * is_near)
        return by_distance @ self.emb_rel_v[0]


class FeedForward(nn.Module):
    """Two convolutions with a wide middle: [B, C, N] → [B, C, N]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        width, inner, kernel = (
            hparams.hidden_channels_enc,
            hparams.encoder_hidden_channels_ffn,
            hparams.encoder_kernel_size_ffn,
        )
        self.p_dropout = hparams.encoder_dropout_p
        self.conv_1 = nn.Conv1d(width, inner, kernel)
        self.conv_2 = nn.Conv1d(inner, width, kernel)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x, real = (x * mask).transpose(1, 2), mask.transpose(1, 2)
        x = dropout(F.relu(convolve(x, self.conv_1)), self.p_dropout, training=self.training)
        return (convolve(x * real, self.conv_2) * real).transpose(1, 2)


class Transformer(nn.Module):
    """Layers of attention and feed-forward, each with a residual and a norm: [B, C, N] → [B, C, N]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        layers, width = range(hparams.encoder_num_layers), hparams.hidden_channels_enc
        self.p_dropout, self.reach = hparams.encoder_dropout_p, hparams.encoder_input_length
        self.attn_layers = nn.ModuleList(RelativeAttention(hparams) for _ in layers)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(width) for _ in layers)
        self.ffn_layers = nn.ModuleList(FeedForward(hparams) for _ in layers)
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(width) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        allowed = _who_sees_whom(mask, self.reach)
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True)
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = norm_1(x + self._drop(attention(x * mask, allowed)))
            x = norm_2(x + self._drop(feed_forward(x, mask)))
        return x * mask

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.p_dropout, training=self.training)


def _who_sees_whom(mask: Tensor, reach: int | None) -> Tensor:
    """[B, 1, N] real symbols → [B, 1, N, N]: only real ones, none farther away than `reach`."""
    both = mask.unsqueeze(2) * mask.unsqueeze(3) > 0
    if reach is None:
        return both
    place = torch.arange(mask.size(2), device=mask.device)
    return both & ((place[:, None] - place).abs() <= reach)


class DurationPredictor(nn.Module):
    """[B, C, N] → logarithm of one more than the frames of each symbol, [B, 1, N]."""

    def __init__(self, n_in: int, hparams: HParams) -> None:
        super().__init__()
        width, self.p_dropout = hparams.hidden_channels_dp, hparams.dropout_p_dp
        self.conv_1 = nn.Conv1d(n_in, width, DURATION_KERNEL_SIZE)
        self.norm_1 = ChannelNorm(width)
        self.conv_2 = nn.Conv1d(width, width, DURATION_KERNEL_SIZE)
        self.norm_2 = ChannelNorm(width)
        self.proj = nn.Conv1d(width, 1, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for convolution, norm in ((self.conv_1, self.norm_1), (self.conv_2, self.norm_2)):
            x = dropout(norm(F.relu(_convolved(x * mask, convolution))), self.p_dropout, training=self.training)
        return _convolved(x * mask, self.proj) * mask


class TextEncoder(nn.Module):
    """Symbol ids → means and log scales [B, n_mel, N] of the latents, and log durations [B, 1, N]."""

    def __init__(self, hparams: HParams, n_symbols: int, n_speaker_channels: int) -> None:
        super().__init__()
        width, n_mel = hparams.hidden_channels_enc, hparams.n_mel_channels
        self.emb = nn.Embedding(n_symbols, width)
        nn.init.normal_(self.emb.weight, 0.0, width**-0.5)
        if hparams.use_encoder_prenet:
            self.prenet = Prenet(width)
        self.encoder = Transformer(hparams)
        self.proj_m = nn.Conv1d(width, n_mel, 1)
        self.mean_only = hparams.mean_only
        if not hparams.mean_only:
            self.proj_s = nn.Conv1d(width, n_mel, 1)
        self.duration_predictor = DurationPredictor(width + n_speaker_channels, hparams)

    def forward(self, text: Tensor, mask: Tensor, speaker: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        x = (self.emb(text) * math.sqrt(self.emb.embedding_dim)).transpose(1, 2) * mask
        if hasattr(self, "prenet"):
            x = self.prenet(x, mask)
        x = self.encoder(x, mask)
        means = precise(_convolved(x, self.proj_m)) * mask
        log_scales = torch.zeros_like(means) if self.mean_only else precise(_convolved(x, self.proj_s)) * mask
        known = x.detach()
        if speaker is not None:
            known = torch.cat([known, speaker.expand(-1, -1, known.size(2))], dim=1)
        return means, log_scales, precise(self.duration_predictor(known, mask))
