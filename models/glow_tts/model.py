"""GlowTTS: mels are mapped to latents that lie around what the text predicts; backwards the same flow speaks.

Module names give the state_dict keys of Coqui's implementation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corpus.batches import Batch
from hparams import HParams
from models.glow_tts.alignment_search import monotonic_path
from models.glow_tts.flows import FlowDecoder
from models.glow_tts.text_encoder import TextEncoder
from models.layers import length_mask


@dataclass(frozen=True)
class FlowOutput:
    """A pass over recordings, cut to T frames, a multiple of num_squeeze."""

    latents: Tensor  # [B, n_mel, T]
    means: Tensor  # [B, n_mel, T] of the symbol that each frame belongs to
    log_scales: Tensor  # [B, n_mel, T]
    logdet: Tensor  # [B] of mels → latents
    symbol_of_frame: Tensor  # [B, T]
    durations: Tensor  # [B, N] frames of each symbol
    log_durations: Tensor  # [B, N] predicted: log(1 + frames)


@dataclass(frozen=True)
class Spoken:
    """A free-running pass."""

    mels: Tensor  # [B, n_mel, T], T a multiple of num_squeeze
    mel_lengths: Tensor  # [B]
    means: Tensor  # [B, n_mel, T'] before the last frames that do not fill a squeeze are cut off
    durations: Tensor  # [B, N] frames
    log_durations: Tensor  # [B, N]


class GlowTTS(nn.Module):
    """Symbol ids → mel spectrogram."""

    def __init__(self, hparams: HParams, n_symbols: int) -> None:
        super().__init__()
        self.hparams = hparams
        n_speaker_channels = hparams.hidden_channels_enc if hparams.num_speakers else 0
        self.encoder = TextEncoder(hparams, n_symbols, n_speaker_channels)
        self.decoder = FlowDecoder(hparams, n_speaker_channels)
        if hparams.num_speakers:
            self.emb_g = nn.Embedding(hparams.num_speakers, n_speaker_channels)
            nn.init.uniform_(self.emb_g.weight, -0.1, 0.1)

    def forward(self, batch: Batch, speakers: Tensor | None = None) -> FlowOutput:
        n = self.hparams.num_squeeze
        mel_lengths = batch.mel_lengths // n * n
        mels = batch.mels[:, :, : batch.mels.size(2) // n * n]
        text_mask, mel_mask = _mask(batch.text_lengths, batch.text.size(1)), _mask(mel_lengths, mels.size(2))
        speaker = self._speaker(speakers)
        means, log_scales, log_durations = self.encoder(batch.text, text_mask, speaker)
        latents, logdet = self.decoder(mels, mel_mask, speaker)
        symbols = monotonic_path(_log_likelihood(latents, means, log_scales), batch.text_lengths, mel_lengths)
        return FlowOutput(
            latents,
            _of_frames(means, symbols) * mel_mask,
            _of_frames(log_scales, symbols) * mel_mask,
            logdet,
            symbols,
            _count(symbols, mel_mask, batch.text.size(1)),
            log_durations.squeeze(1),
        )

    @torch.no_grad()
    def speak(self, text: Tensor, text_lengths: Tensor, speakers: Tensor | None = None) -> Spoken:
        """Each symbol lasts a frame at least; padding lasts none."""
        text_mask, speaker = _mask(text_lengths, text.size(1)), self._speaker(speakers)
        means, log_scales, log_durations = self.encoder(text, text_mask, speaker)
        frames = (torch.exp(log_durations) - 1) * self.hparams.length_scale
        durations = (torch.ceil(frames).clamp(min=1) * text_mask).squeeze(1).long()
        lengths = durations.sum(1)
        symbols = spread(durations)
        mel_mask = _mask(lengths, symbols.size(1))
        means, scales = _of_frames(means, symbols) * mel_mask, torch.exp(_of_frames(log_scales, symbols))
        latents = (means + scales * torch.randn_like(means) * self.hparams.inference_noise_scale) * mel_mask
        n = self.hparams.num_squeeze
        lengths, n_frames = lengths // n * n, symbols.size(1) // n * n
        mels = self.decoder.inverse(latents[:, :, :n_frames], _mask(lengths, n_frames), speaker)
        return Spoken(mels, lengths, means, durations, log_durations.squeeze(1))

    def _speaker(self, speakers: Tensor | None) -> Tensor | None:
        """[B] → [B, C, 1], of length 1."""
        return None if speakers is None else F.normalize(self.emb_g(speakers)).unsqueeze(2)


def _mask(lengths: Tensor, size: int) -> Tensor:
    """[B, 1, size], 1 where an item is real."""
    return length_mask(lengths, size).unsqueeze(1).float()


@torch.no_grad()
def _log_likelihood(latents: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Of each frame under each symbol, [B, T, N]."""
    precision = torch.exp(-2 * log_scales)
    constant = (-0.5 * math.log(2 * math.pi) - log_scales - 0.5 * means.square() * precision).sum(1, keepdim=True)
    latents = latents.transpose(1, 2)
    return -0.5 * latents.square() @ precision + latents @ (means * precision) + constant


def _of_frames(x: Tensor, symbols: Tensor) -> Tensor:
    """What belongs to symbols [B, C, N], for each frame [B, C, T]."""
    return x.gather(2, symbols.unsqueeze(1).expand(-1, x.size(1), -1))


def _count(symbols: Tensor, mel_mask: Tensor, n_symbols: int) -> Tensor:
    counts = torch.zeros(symbols.size(0), n_symbols, device=symbols.device)
    return counts.scatter_add(1, symbols, mel_mask.squeeze(1))


def spread(durations: Tensor) -> Tensor:
    """Which symbol each frame belongs to [B, T], of durations [B, N]; beyond an item's end its last one."""
    ends = durations.cumsum(1)
    frames = torch.arange(int(ends[:, -1].max()), device=durations.device).expand(len(durations), -1)
    return torch.searchsorted(ends, frames.contiguous(), right=True).clamp(max=durations.size(1) - 1)
