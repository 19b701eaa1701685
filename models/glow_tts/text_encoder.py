"""The text encoder: symbols → means and scales of their latents, and durations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hparams import HParams
from models.kernels.conv1d import convolve
from models.layers import at_least_float32, dropout

PRENET_LAYERS, PRENET_KERNEL_SIZE, P_PRENET_DROPOUT = 3, 5, 0.5
DURATION_KERNEL_SIZE = 3
MASKED_SCORE = -1e4  # before the softmax: no attention


def _conv(x: Tensor, layer: nn.Module) -> Tensor:
    """[B, C, N] → [B, C', N]."""
    return convolve(x.transpose(1, 2), layer).transpose(1, 2)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of [B, C, T]."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1, n_channels, 1), 0.1))
        self.beta = nn.Parameter(torch.zeros(1, n_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = at_least_float32(x)
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-4)
        return centred * scale * self.gamma + self.beta


class Prenet(nn.Module):
    """Convolutions over neighbouring symbols, with a residual connection: [B, C, N] → [B, C, N]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(nn.Conv1d(width, width, PRENET_KERNEL_SIZE) for _ in range(PRENET_LAYERS))
        self.norm_layers = nn.ModuleList(ChannelNorm(width) for _ in range(PRENET_LAYERS))
        self.proj = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = x
        for convolution, norm in zip(self.conv_layers, self.norm_layers, strict=True):
            hidden = F.relu(norm(_conv(hidden * mask, convolution) * mask))
            hidden = dropout(hidden, P_PRENET_DROPOUT, training=self.training)
        return (x + _conv(hidden, self.proj)) * mask


class RelativeAttention(nn.Module):
    """Multi-head self-attention with embeddings of the relative position of two symbols, within a window."""

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
        """[B, C, N], and the mask of pairs that may attend to each other [B, 1, N, N] → [B, C, N]."""
        query, key, value = (self._heads(_conv(x, layer)) for layer in (self.conv_q, self.conv_k, self.conv_v))
        query = query / math.sqrt(query.size(3))
        scores = query @ key.transpose(2, 3)
        relative = None if self.window is None else self._relative_positions(x.size(2), x.device)
        if relative is not None:
            scores = scores + self._relative_scores(query, relative)
        attention = torch.softmax(scores.masked_fill(~allowed, MASKED_SCORE), dim=3)
        attention = dropout(attention, self.p_dropout, training=self.training)
        result = attention @ value
        if relative is not None:
            result = result + self._relative_values(attention, relative)
        return _conv(result.transpose(2, 3).reshape(x.shape), self.conv_o)

    def _heads(self, x: Tensor) -> Tensor:
        """[B, C, N] → [B, heads, N, C / heads]."""
        return x.view(x.size(0), self.n_heads, -1, x.size(2)).transpose(2, 3)

    def _relative_positions(self, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """For each pair of symbols [N, N] the index of its embedding, and whether it lies within the window."""
        assert self.window is not None
        index = torch.arange(n, device=device)
        distance = index - index[:, None]
        return (distance + self.window).clamp(0, 2 * self.window), distance.abs() <= self.window

    def _relative_scores(self, query: Tensor, relative: tuple[Tensor, Tensor]) -> Tensor:
        embedding, is_in_window = relative
        by_distance = query @ self.emb_rel_k[0].t()  # [B, heads, N, 2·window + 1]
        scores = by_distance.gather(3, embedding.expand(*query.shape[:2], -1, -1))
        return scores * is_in_window

    def _relative_values(self, attention: Tensor, relative: tuple[Tensor, Tensor]) -> Tensor:
        embedding, is_in_window = relative
        by_distance = attention.new_zeros(*attention.shape[:3], self.emb_rel_v.size(1))
        by_distance = by_distance.scatter_add(3, embedding.expand_as(attention), attention * is_in_window)
        return by_distance @ self.emb_rel_v[0]


class FeedForward(nn.Module):
    """Two convolutions with a wide hidden layer: [B, C, N] → [B, C, N]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        width, inner = hparams.hidden_channels_enc, hparams.encoder_hidden_channels_ffn
        kernel, self.p_dropout = hparams.encoder_kernel_size_ffn, hparams.encoder_dropout_p
        self.conv_1 = nn.Conv1d(width, inner, kernel)
        self.conv_2 = nn.Conv1d(inner, width, kernel)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x, mask = (x * mask).transpose(1, 2), mask.transpose(1, 2)
        x = dropout(F.relu(convolve(x, self.conv_1)), self.p_dropout, training=self.training)
        return (convolve(x * mask, self.conv_2) * mask).transpose(1, 2)


class Transformer(nn.Module):
    """Layers of attention and feed-forward, each with a residual and a norm: [B, C, N] → [B, C, N]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        layers, width = range(hparams.encoder_num_layers), hparams.hidden_channels_enc
        self.p_dropout, self.max_distance = hparams.encoder_dropout_p, hparams.encoder_input_length
        self.attn_layers = nn.ModuleList(RelativeAttention(hparams) for _ in layers)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(width) for _ in layers)
        self.ffn_layers = nn.ModuleList(FeedForward(hparams) for _ in layers)
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(width) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        allowed = _allowed_pairs(mask, self.max_distance)
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True)
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = norm_1(x + self._drop(attention(x * mask, allowed)))
            x = norm_2(x + self._drop(feed_forward(x, mask)))
        return x * mask

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.p_dropout, training=self.training)


def _allowed_pairs(mask: Tensor, max_distance: int | None) -> Tensor:
    """[B, 1, N] mask of symbols → [B, 1, N, N] mask of pairs of symbols at most `max_distance` apart."""
    both = mask.unsqueeze(2) * mask.unsqueeze(3) > 0
    if max_distance is None:
        return both
    index = torch.arange(mask.size(2), device=mask.device)
    return both & ((index[:, None] - index).abs() <= max_distance)


class DurationPredictor(nn.Module):
    """[B, C, N] → log(1 + frames) of each symbol, [B, 1, N]."""

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
            x = dropout(norm(F.relu(_conv(x * mask, convolution))), self.p_dropout, training=self.training)
        return _conv(x * mask, self.proj) * mask


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
        means = at_least_float32(_conv(x, self.proj_m)) * mask
        log_scales = torch.zeros_like(means) if self.mean_only else at_least_float32(_conv(x, self.proj_s)) * mask
        features = x.detach()  # durations do not train the encoder
        if speaker is not None:
            features = torch.cat([features, speaker.expand(-1, -1, features.size(2))], dim=1)
        return means, log_scales, at_least_float32(self.duration_predictor(features, mask))
