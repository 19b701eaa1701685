"""Loss of GlowTTS: negative log-likelihood of the recordings, and error of the predicted durations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from corpus.batches import Batch
from models.interface import Losses

BROKEN_NLL = 3.0
"""Nats per mel value, including the duration error; a working flow stays below this on any recording."""


@dataclass(frozen=True)
class FlowOutput:
    """Teacher-forced pass, cut to T frames, a multiple of num_squeeze."""

    latents: Tensor  # [B, n_mel, T]
    means: Tensor  # [B, n_mel, T] of each frame's symbol
    log_scales: Tensor  # [B, n_mel, T]
    logdet: Tensor  # [B] of mels → latents
    log_likelihood: Tensor  # [B, T, N] of each frame under each symbol
    symbol_of_frame: Tensor  # [B, T]
    durations: Tensor  # [B, N] frames of each symbol
    log_durations: Tensor  # [B, N] predicted: log(1 + frames)


def glow_tts_losses(output: FlowOutput, batch: Batch, duration_weight: float) -> Losses:
    """Means over all valid mel values and over all symbols, with health values of the flow."""
    n_values = batch.mel_lengths * output.latents.size(1)
    nll_by_utterance = 0.5 * math.log(2 * math.pi) * n_values - output.logdet + _misfit(output).sum((1, 2))
    duration_errors = (output.log_durations - torch.log1p(output.durations)).square().sum(1)
    nll = nll_by_utterance.sum() / n_values.sum()
    duration_loss = duration_errors.sum() / batch.text_lengths.sum()
    # At weight 0 the predictor gets no gradient rather than a zero one, which the optimizer would still act on.
    total = nll + duration_weight * duration_loss if duration_weight else nll
    parts = {
        "nll_loss": nll,
        "duration_loss": duration_loss,
        "total_loss": total,
        "logdet": output.logdet.sum() / n_values.sum(),
        "latent_deviation": (output.latents.square().sum() / n_values.sum()).sqrt(),
        "prior_deviation": (output.means.square().sum() / n_values.sum()).sqrt(),
    }
    by_utterance = nll_by_utterance / n_values + duration_errors / batch.text_lengths
    return Losses(total, parts, _perplexity(by_utterance.detach()))


def _perplexity(nll: Tensor) -> Tensor:
    """[B] exp(nll), which is above zero; linear beyond `BROKEN_NLL`, and capped there if most utterances are beyond.

    If most utterances are that unlikely, the flow is broken, not the recordings, so that none may stand out.
    """
    excess = (nll - BROKEN_NLL).clamp(min=0) * (nll.nanmedian() < BROKEN_NLL)
    return torch.where(nll.isfinite(), torch.exp(nll.clamp(max=BROKEN_NLL)) * (1 + excess), nll)


def _misfit(output: FlowOutput) -> Tensor:
    """[B, n_mel, T] negative log-likelihood of the latents, without its constant."""
    difference = (output.latents - output.means).square()
    return output.log_scales + 0.5 * torch.exp(-2 * output.log_scales) * difference
