"""GlowTTS: a flow maps mels to latents distributed around means that the text predicts; its inverse synthesises.

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
from models.layers import at_least_float32, expand_durations, length_mask, without_autocast

FrameCount = TypeVar("FrameCount", int, Tensor)


@dataclass(frozen=True)
class GlowFreeRunningOutput(FreeRunningOutput):
    """Free-running synthesis with the intermediate results of GlowTTS."""

    means: Tensor  # [B, n_mel, T'] before frames beyond a multiple of num_squeeze are cut off
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
        self.hparams, self._speed = hparams, 1.0
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
        mel_lengths = self._whole_squeezes(batch.mel_lengths)
        mels = batch.mels[:, :, : self._whole_squeezes(batch.mels.size(2))]
        text_mask, mel_mask = _mask(batch.text_lengths, batch.text.size(1)), _mask(mel_lengths, mels.size(2))
        if self.training and self.hparams.mel_noise:
            mels = mels + self.hparams.mel_noise * torch.randn_like(mels) * mel_mask
        speaker = self._speaker(batch.inputs)
        means, log_scales, log_durations = self.encoder(batch.text, text_mask, speaker)
        latents, logdet = self.decoder(mels, mel_mask, speaker)
        likelihood = _log_likelihood(latents, means, log_scales)
        score = likelihood
        if self.training and self.hparams.alignment_prior:
            durations = batch.durations if self.hparams.alignment_guide == "corpus" else None
            distance = _distance_from_guide(likelihood, batch.text_lengths, mel_lengths, durations)
            score = likelihood - self.hparams.alignment_prior * distance
        symbol_of_frame = monotonic_path(score, batch.text_lengths, mel_lengths)
        return FlowOutput(
            latents=latents,
            means=_expand_to_frames(means, symbol_of_frame) * mel_mask,
            log_scales=_expand_to_frames(log_scales, symbol_of_frame) * mel_mask,
            logdet=logdet,
            log_likelihood=likelihood,
            symbol_of_frame=symbol_of_frame,
            durations=_count_frames(symbol_of_frame, mel_mask, batch.text.size(1)),
            log_durations=log_durations.squeeze(1),
        )

    def losses(self, output: FlowOutput, batch: Batch, knobs: LossKnobs) -> Losses:
        return glow_tts_losses(output, batch, knobs["duration_loss_weight"])

    def snapshot(self) -> list[Tensor]:
        """Parameters of the activation norms, as long as the next training pass will initialise them."""
        norms = [norm for norm, _, _ in self.decoder.blocks()]
        if all(norm.is_initialised for norm in norms):
            return []
        return [parameter.detach().clone() for norm in norms for parameter in norm.parameters()]

    def restore(self, snapshot: list[Tensor]) -> None:
        if snapshot:
            self.decoder.reset_norms(snapshot)

    @torch.no_grad()
    def measures(self) -> dict[str, float]:
        """The largest scale of an ActNorm, up or down, and the largest condition number of a convolution."""
        scales = torch.stack([norm.logs.abs().max() for norm, _, _ in self.decoder.blocks()])
        weights = torch.stack([at_least_float32(convolution.weight) for _, convolution, _ in self.decoder.blocks()])
        numbers = torch.exp(scales.max()), torch.linalg.cond(weights).max()
        return dict(zip(self.MEASURES, (float(number) for number in numbers), strict=True))

    def gradient_parts(self) -> dict[str, list[nn.Parameter]]:
        durations = list(self.encoder.duration_predictor.parameters())
        duration_ids = {id(parameter) for parameter in durations}
        return {
            "gradient_norm_encoder": [p for p in self.encoder.parameters() if id(p) not in duration_ids],
            "gradient_norm_durations": durations,
            **{
                f"gradient_norm_flow_{i}": [p for flow in block for p in flow.parameters()]
                for i, block in enumerate(self.decoder.blocks(), start=1)
            },
        }

    def teacher_forced_output(self, output: FlowOutput, batch: Batch) -> TeacherForcedOutput:
        """Mels of the predicted means, with the durations of the recording."""
        mel_lengths = self._whole_squeezes(batch.mel_lengths)
        mask = _mask(mel_lengths, output.latents.size(2))
        mels = self.decoder.inverse(output.means, mask, self._speaker(batch.inputs))
        alignments = _symbol_posterior(output.log_likelihood, batch.text_lengths)
        return TeacherForcedOutput(mels, mel_lengths, alignments, mel_lengths, None, torch.expm1(output.log_durations))

    def fold(self) -> None:
        for layer in self.modules():
            if is_parametrized(layer):
                remove_parametrizations(layer, "weight")

    def set_speed(self, speed: float) -> None:
        self._speed = speed

    def set_gate_threshold(self, threshold: float) -> None:
        """Nothing to do: the predicted durations end speech, not a gate."""

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        max_steps: int | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> GlowFreeRunningOutput:
        """Each symbol lasts at least one frame, padding none."""
        text_mask, speaker = _mask(text_lengths, text.size(1)), self._speaker(inputs or {})
        means, log_scales, log_durations = self.encoder(text, text_mask, speaker)
        max_frames = min(max_steps or self.hparams.max_decoder_steps, self.hparams.max_decoder_steps)
        durations, stopped = self._round_durations(log_durations, text_mask, max_frames)
        lengths, symbol_of_frame = durations.sum(1), expand_durations(durations)
        mel_mask = _mask(lengths, symbol_of_frame.size(1))
        frame_means = _expand_to_frames(means, symbol_of_frame) * mel_mask
        frame_scales = torch.exp(_expand_to_frames(log_scales, symbol_of_frame))
        noise = torch.randn_like(frame_means)
        latents = (frame_means + frame_scales * noise * self.hparams.inference_noise_scale) * mel_mask
        lengths, n_frames = self._whole_squeezes(lengths), self._whole_squeezes(symbol_of_frame.size(1))
        latents = latents[:, :, :n_frames]
        mels = self.decoder.inverse(latents, _mask(lengths, n_frames), speaker)
        alignments = _symbol_posterior(_log_likelihood(latents, means, log_scales), text_lengths)
        return GlowFreeRunningOutput(
            mels, lengths, alignments, lengths, stopped, frame_means, durations, log_durations.squeeze(1)
        )

    def _round_durations(self, log_durations: Tensor, text_mask: Tensor, max_frames: int) -> tuple[Tensor, Tensor]:
        """Frames of each symbol [B, N], cut at `max_frames`, and whether each item [B] fits without a cut."""
        frames = torch.ceil(torch.expm1(log_durations) * (self.hparams.length_scale / self._speed))
        frames = (frames.nan_to_num(nan=1.0).clamp(1, max_frames + 1) * text_mask).squeeze(1)
        ends = frames.cumsum(1)
        durations = ends.clamp(max=max_frames).diff(dim=1, prepend=ends.new_zeros(len(ends), 1))
        missing = (self.hparams.num_squeeze - durations.sum(1)).clamp(min=0)  # a single short symbol fills no squeeze
        durations[:, 0] += missing
        return durations.long(), ends[:, -1] <= max_frames

    def _whole_squeezes(self, n_frames: FrameCount) -> FrameCount:
        """Round down to a multiple of num_squeeze."""
        return n_frames // self.hparams.num_squeeze * self.hparams.num_squeeze

    def _speaker(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Unit vectors [B, C, 1] for the input `speakers` [B]; None for a model of one voice."""
        if not self.hparams.num_speakers:
            return None
        if "speakers" not in inputs:
            raise ValueError("a model of several speakers expects the input 'speakers': an index for each item")
        return F.normalize(self.emb_g(inputs["speakers"])).unsqueeze(2)


def _mask(lengths: Tensor, size: int) -> Tensor:
    """[B, 1, size], 1 within each item's length."""
    return length_mask(lengths, size).unsqueeze(1).float()


@torch.no_grad()
def _log_likelihood(latents: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Log-likelihood of each frame under each symbol, [B, T, N]."""
    precision = torch.exp(-2 * log_scales)
    constant = (-0.5 * math.log(2 * math.pi) - log_scales - 0.5 * means.square() * precision).sum(1, keepdim=True)
    latents = latents.transpose(1, 2)
    with without_autocast(latents):
        return -0.5 * latents.square() @ precision + latents @ (means * precision) + constant


def _distance_from_guide(
    likelihood: Tensor, text_lengths: Tensor, mel_lengths: Tensor, durations: Tensor | None
) -> Tensor:
    """Squared distance of each frame and symbol from the guide, [B, T, N]; 1 from end to end of a text.

    The guide is an alignment with these durations [B, N], or with equal ones. While all symbols are about equally
    likely, the search would pick an arbitrary path, and the model would learn it.
    """
    symbols = (torch.arange(likelihood.size(2), device=likelihood.device) + 0.5) / text_lengths.unsqueeze(1)
    if durations is None:
        frames = (torch.arange(likelihood.size(1), device=likelihood.device) + 0.5) / mel_lengths.unsqueeze(1)
    else:
        guide = expand_durations(durations)[:, : likelihood.size(1)]
        frames = (guide + 0.5) / text_lengths.unsqueeze(1)
    return (frames.unsqueeze(2) - symbols.unsqueeze(1)).square()


def _symbol_posterior(log_likelihood: Tensor, text_lengths: Tensor) -> Tensor:
    """Probability of each symbol for each frame [B, T, N]; unlike the searched path it can fail to be a diagonal."""
    is_valid = length_mask(text_lengths, log_likelihood.size(2)).unsqueeze(1)
    return torch.softmax(log_likelihood.masked_fill(~is_valid, -torch.inf), dim=2)


def _expand_to_frames(x: Tensor, symbol_of_frame: Tensor) -> Tensor:
    """Values of symbols [B, C, N] → values of frames [B, C, T]."""
    return x.gather(2, symbol_of_frame.unsqueeze(1).expand(-1, x.size(1), -1))


def _count_frames(symbol_of_frame: Tensor, mel_mask: Tensor, n_symbols: int) -> Tensor:
    """Frames of each symbol, [B, N]."""
    counts = torch.zeros(symbol_of_frame.size(0), n_symbols, device=symbol_of_frame.device)
    return counts.scatter_add(1, symbol_of_frame, mel_mask.squeeze(1))
