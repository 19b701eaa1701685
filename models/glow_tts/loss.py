"""What GlowTTS minimises: how unlikely the recordings are, and how wrong the durations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from corpus.batches import Batch
from models.interface import Losses

BROKEN = 3.0
"""Nats a value: a flow that learns is less surprised by any recording, a broken one by all of them."""


@dataclass(frozen=True)
class FlowOutput:
    """A pass over recordings, cut to T frames, a multiple of num_squeeze."""

    latents: Tensor  # [B, n_mel, T]
    means: Tensor  # [B, n_mel, T] of the symbol that each frame belongs to
    log_scales: Tensor  # [B, n_mel, T]
    logdet: Tensor  # [B] of mels → latents
    log_likelihood: Tensor  # [B, T, N] of each frame under each symbol
    symbol_of_frame: Tensor  # [B, T]
    durations: Tensor  # [B, N] frames of each symbol
    log_durations: Tensor  # [B, N] predicted: log(1 + frames)


def glow_tts_losses(output: FlowOutput, batch: Batch, duration_weight: float) -> Losses:
    """Means over all real mel values and over all symbols; with what the flow makes of the recordings."""
    n_values = batch.mel_lengths * output.latents.size(1)
    likelihood = 0.5 * math.log(2 * math.pi) * n_values - output.logdet + _misfit(output).sum((1, 2))
    misjudged = (output.log_durations - torch.log1p(output.durations)).square().sum(1)
    nll = likelihood.sum() / n_values.sum()
    duration_loss = misjudged.sum() / batch.text_lengths.sum()
    surprise = likelihood / n_values + misjudged / batch.text_lengths
    weighted = nll + duration_weight * duration_loss if duration_weight else nll  # without any gradient they are frozen
    parts = {"nll_loss": nll, "duration_loss": duration_loss, "total_loss": weighted}
    parts |= {
        "logdet": output.logdet.sum() / n_values.sum(),
        "latent_deviation": (output.latents.square().sum() / n_values.sum()).sqrt(),
        "prior_deviation": (output.means.square().sum() / n_values.sum()).sqrt(),
    }
    return Losses(parts["total_loss"], parts, _perplexity(surprise.detach()))


def _perplexity(surprise: Tensor) -> Tensor:
    """Above zero, where surprise as a logarithm is not; when most surprise a flow, none is to blame."""
    beyond = (surprise - BROKEN).clamp(min=0) * (surprise.nanmedian() < BROKEN)
    return torch.where(surprise.isfinite(), torch.exp(surprise.clamp(max=BROKEN)) * (1 + beyond), surprise)


def _misfit(output: FlowOutput) -> Tensor:
    difference = (output.latents - output.means).square()
    return output.log_scales + 0.5 * torch.exp(-2 * output.log_scales) * difference
