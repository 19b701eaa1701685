"""GlowTTS: mels are mapped to latents that lie around what the text predicts; backwards the same flow speaks.

Module names give the state_dict keys of Coqui's implementation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from corpus.batches import Axis, Batch
from hparams import HParams
from models.glow_tts.alignment_search import monotonic_path
from models.glow_tts.flows import FlowDecoder
from models.glow_tts.loss import FlowOutput, glow_tts_losses
from models.glow_tts.text_encoder import TextEncoder
from models.interface import FreeRunningOutput, Losses, LossKnobs, TeacherForcedOutput
from models.layers import length_mask, precise, without_autocast

Frames = TypeVar("Frames", int, Tensor)


@dataclass(frozen=True)
class GlowFreeRunningOutput(FreeRunningOutput):
    """With what only GlowTTS has."""

    means: Tensor  # [B, n_mel, T'] before the last frames that do not fill a squeeze are cut off
    durations: Tensor  # [B, N] frames
    log_durations: Tensor  # [B, N]


class GlowTTS(nn.Module):
    """Symbol ids → mel spectrogram."""

    LOSS_PARTS: tuple[str, ...] = ("nll_loss", "duration_loss", "logdet", "latent_deviation", "prior_deviation")
    MEASURES: tuple[str, ...] = ("actnorm_scale", "convolution_condition")
    SPECTRUM_LOSS = "nll_loss"
    LOG_LOSSES: tuple[str, ...] = ("nll_loss", "total_loss")
    HAS_ATTENTION = False
    HAS_GATE = False
    LOSS_KNOBS: tuple[str, ...] = ("duration_loss_weight",)
    INPUTS: Mapping[str, Axis] = {"speakers": "utterance"}

    def __init__(self, hparams: HParams, n_symbols: int) -> None:
        super().__init__()
        self.hparams = hparams
        n_speaker_channels = hparams.hidden_channels_enc if hparams.num_speakers else 0
        self.encoder = TextEncoder(hparams, n_symbols, n_speaker_channels)
        self.decoder = FlowDecoder(hparams, n_speaker_channels)
        if hparams.num_speakers:
            self.emb_g = nn.Embedding(hparams.num_speakers, n_speaker_channels)
            nn.init.uniform_(self.emb_g.weight, -0.1, 0.1)

    @property
    def frames_per_step(self) -> int:
        return 1

    def forward(self, batch: Batch) -> FlowOutput:
        mel_lengths = self._whole(batch.mel_lengths)
        mels = batch.mels[:, :, : self._whole(batch.mels.size(2))]
        text_mask, mel_mask = _mask(batch.text_lengths, batch.text.size(1)), _mask(mel_lengths, mels.size(2))
        speaker = self._speaker(batch.inputs)
        means, log_scales, log_durations = self.encoder(batch.text, text_mask, speaker)
        latents, logdet = self.decoder(mels, mel_mask, speaker)
        likelihood = _log_likelihood(latents, means, log_scales)
        searched = likelihood
        if self.training and self.hparams.alignment_prior:
            searched = likelihood - self.hparams.alignment_prior * _off_diagonal(likelihood, batch, mel_lengths)
        symbols = monotonic_path(searched, batch.text_lengths, mel_lengths)
        return FlowOutput(
            latents,
            _of_frames(means, symbols) * mel_mask,
            _of_frames(log_scales, symbols) * mel_mask,
            logdet,
            likelihood,
            symbols,
            _count(symbols, mel_mask, batch.text.size(1)),
            log_durations.squeeze(1),
        )

    def losses(self, output: FlowOutput, batch: Batch, knobs: LossKnobs) -> Losses:
        return glow_tts_losses(output, batch, knobs["duration_loss_weight"])

    def snapshot(self) -> list[Tensor]:
        """Norms begin with their first batch."""
        norms = [norm for norm, _, _ in self.decoder.blocks()]
        if all(norm.has_begun for norm in norms):
            return []
        return [parameter.detach().clone() for norm in norms for parameter in norm.parameters()]

    def restore(self, snapshot: list[Tensor]) -> None:
        if snapshot:
            self.decoder.begin_anew(snapshot)

    @torch.no_grad()
    def measures(self) -> dict[str, float]:
        """The largest factor by which an ActNorm stretches or shrinks, and the worst condition of a convolution."""
        scales = torch.stack([norm.logs.abs().max() for norm, _, _ in self.decoder.blocks()])
        weights = torch.stack([precise(convolution.weight) for _, convolution, _ in self.decoder.blocks()])
        numbers = torch.exp(scales.max()), torch.linalg.cond(weights).max()
        return dict(zip(self.MEASURES, (float(number) for number in numbers), strict=True))

    def gradient_parts(self) -> dict[str, list[nn.Parameter]]:
        durations = list(self.encoder.duration_predictor.parameters())
        known = {id(parameter) for parameter in durations}
        return {
            "gradient_norm_encoder": [p for p in self.encoder.parameters() if id(p) not in known],
            "gradient_norm_durations": durations,
            **{
                f"gradient_norm_flow_{i}": [p for flow in block for p in flow.parameters()]
                for i, block in enumerate(self.decoder.blocks(), start=1)
            },
        }

    def teacher_forced_output(self, output: FlowOutput, batch: Batch) -> TeacherForcedOutput:
        """The mels that the symbols' means give with the durations of the recording."""
        mel_lengths = self._whole(batch.mel_lengths)
        mask = _mask(mel_lengths, output.latents.size(2))
        mels = self.decoder.inverse(output.means, mask, self._speaker(batch.inputs))
        alignments = _likely_symbols(output.log_likelihood, batch.text_lengths)
        return TeacherForcedOutput(mels, mel_lengths, alignments, mel_lengths, None, torch.expm1(output.log_durations))

    def fold(self) -> None:
        for layer in self.modules():
            if is_parametrized(layer):
                remove_parametrizations(layer, "weight")

    def set_gate_threshold(self, threshold: float) -> None:
        """It has no gate: durations say when speech ends."""

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        max_steps: int | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> GlowFreeRunningOutput:
        """Each symbol lasts a frame at least; padding lasts none."""
        text_mask, speaker = _mask(text_lengths, text.size(1)), self._speaker(inputs or {})
        means, log_scales, log_durations = self.encoder(text, text_mask, speaker)
        limit = min(max_steps or self.hparams.max_decoder_steps, self.hparams.max_decoder_steps)
        durations, stopped = self._durations(log_durations, text_mask, limit)
        lengths, symbols = durations.sum(1), spread(durations)
        mel_mask = _mask(lengths, symbols.size(1))
        of_frames, scales = _of_frames(means, symbols) * mel_mask, torch.exp(_of_frames(log_scales, symbols))
        latents = (of_frames + scales * torch.randn_like(of_frames) * self.hparams.inference_noise_scale) * mel_mask
        lengths, n_frames = self._whole(lengths), self._whole(symbols.size(1))
        latents = latents[:, :, :n_frames]
        mels = self.decoder.inverse(latents, _mask(lengths, n_frames), speaker)
        alignments = _likely_symbols(_log_likelihood(latents, means, log_scales), text_lengths)
        return GlowFreeRunningOutput(
            mels, lengths, alignments, lengths, stopped, of_frames, durations, log_durations.squeeze(1)
        )

    def _durations(self, log_durations: Tensor, text_mask: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """Frames of each symbol [B, N], none beyond the limit, and whether an item stayed within it."""
        frames = torch.ceil(torch.expm1(log_durations) * self.hparams.length_scale)
        frames = (frames.nan_to_num(nan=1.0).clamp(1, limit + 1) * text_mask).squeeze(1)
        ends = frames.cumsum(1)
        within = ends.clamp(max=limit).diff(dim=1, prepend=ends.new_zeros(len(ends), 1))
        within[:, 0] += (self.hparams.num_squeeze - within.sum(1)).clamp(min=0)  # of a single short symbol
        return within.long(), ends[:, -1] <= limit

    def _whole(self, frames: Frames) -> Frames:
        """Without the last ones that do not fill a squeeze."""
        return frames // self.hparams.num_squeeze * self.hparams.num_squeeze

    def _speaker(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Embedding [B, C, 1], of length 1, of the input `speakers` [B]; None of a model with one voice."""
        if not self.hparams.num_speakers:
            return None
        if "speakers" not in inputs:
            raise ValueError("a model of several speakers expects the input 'speakers': the place of each one's voice")
        return F.normalize(self.emb_g(inputs["speakers"])).unsqueeze(2)


def _mask(lengths: Tensor, size: int) -> Tensor:
    """[B, 1, size], 1 where an item is real."""
    return length_mask(lengths, size).unsqueeze(1).float()


@torch.no_grad()
def _log_likelihood(latents: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Of each frame under each symbol, [B, T, N]."""
    precision = torch.exp(-2 * log_scales)
    constant = (-0.5 * math.log(2 * math.pi) - log_scales - 0.5 * means.square() * precision).sum(1, keepdim=True)
    latents = latents.transpose(1, 2)
    with without_autocast(latents):
        return -0.5 * latents.square() @ precision + latents @ (means * precision) + constant


def _off_diagonal(likelihood: Tensor, batch: Batch, mel_lengths: Tensor) -> Tensor:
    """How far each frame is from where a symbol would be if all lasted as long, [B, T, N]; 1 in the far corners.

    As long as all symbols are about as likely, any path is as good as another, and what is learnt first may be wrong.
    """
    frames = (torch.arange(likelihood.size(1), device=likelihood.device) + 0.5) / mel_lengths.unsqueeze(1)
    symbols = (torch.arange(likelihood.size(2), device=likelihood.device) + 0.5) / batch.text_lengths.unsqueeze(1)
    return (frames.unsqueeze(2) - symbols.unsqueeze(1)).square()


def _likely_symbols(log_likelihood: Tensor, text_lengths: Tensor) -> Tensor:
    """Which symbols each frame could well be of [B, T, N]: the path itself is a diagonal always, and says nothing."""
    is_real = length_mask(text_lengths, log_likelihood.size(2)).unsqueeze(1)
    return torch.softmax(log_likelihood.masked_fill(~is_real, -torch.inf), dim=2)


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
