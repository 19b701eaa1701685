"""Tacotron 2 with location-sensitive attention, a reduction factor and properly masked padding.

Module names give the state_dict keys of the NVIDIA implementation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corpus.batches import Axis, Batch
from hparams import HParams
from models.interface import AttentionOutput, FreeRunningOutput, Losses, LossKnobs, TeacherForcedOutput
from models.layers import ConvNorm, dropout, length_mask, matmul_dtype, run_bidirectional_lstm, without_autocast
from models.tacotron2.decoder import Decoder
from models.tacotron2.loss import tacotron2_losses

ENDED_GATE_LOGIT = 1000.0  # written into the padding of gates, as the reference does: "speech has ended"


class Encoder(nn.Module):
    """Symbol embeddings [B, N, E] → memory [B, N, encoder_embedding_dim]: convolutions, then a bidirectional LSTM."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        width = hparams.encoder_embedding_dim
        self.leaky = hparams.leaky_padding
        self.p_dropout = hparams.p_encoder_dropout
        inputs = [hparams.symbols_embedding_dim] + [width] * (hparams.encoder_n_convolutions - 1)
        self.convolutions = nn.ModuleList(
            ConvNorm(n, width, kernel_size=hparams.encoder_kernel_size, gain="relu") for n in inputs
        )
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = None if self.leaky else length_mask(lengths, x.size(1))
        for convolution in self.convolutions:
            x = dropout(F.relu(convolution(x, mask)), self.p_dropout, training=self.training)
        return run_bidirectional_lstm(self.lstm, x, lengths)


class Postnet(nn.Module):
    """A residual that sharpens mels [B, T, n_mel]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        self.leaky = hparams.leaky_padding
        self.p_dropout = hparams.p_postnet_dropout
        inner = [hparams.postnet_embedding_dim] * (hparams.postnet_n_convolutions - 1)
        widths = [hparams.n_mel_channels, *inner]
        size = hparams.postnet_kernel_size
        self.convolutions = nn.ModuleList(
            ConvNorm(n_in, n_out, kernel_size=size, gain="tanh") for n_in, n_out in itertools.pairwise(widths)
        )
        last = ConvNorm(widths[-1], hparams.n_mel_channels, kernel_size=size, gain="linear")
        nn.init.zeros_(last.norm.weight)  # the correction starts at zero
        self.convolutions.append(last)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = None if self.leaky else length_mask(lengths, x.size(1))
        for convolution in self.convolutions[:-1]:
            x = dropout(torch.tanh(convolution(x, mask)), self.p_dropout, training=self.training)
        return dropout(self.convolutions[-1](x, mask), self.p_dropout, training=self.training)


@dataclass(frozen=True)
class TacotronFreeRunningOutput(FreeRunningOutput):
    """Free-running synthesis with the intermediate results of Tacotron 2."""

    mels_before_postnet: Tensor  # [B, n_mel, T]
    gates: Tensor  # [B, S] logits


class Tacotron2(nn.Module):
    """Symbol ids → mel spectrogram."""

    LOSS_PARTS: tuple[str, ...] = ("mel_loss", "gate_loss", "guide_loss")
    MEASURES: tuple[str, ...] = ()
    SPECTRUM_LOSS = "mel_loss"
    LOG_LOSSES: tuple[str, ...] = ()
    HAS_ATTENTION = True
    HAS_GATE = True
    LOSS_KNOBS: tuple[str, ...] = ("guide_weight", "guide_sigma", "gate_positive_weight")
    INPUTS: Mapping[str, Axis] = {}

    def __init__(self, hparams: HParams, n_symbols: int) -> None:
        super().__init__()
        self.hparams = hparams
        self.embedding = nn.Embedding(n_symbols, hparams.symbols_embedding_dim)
        bound = (6.0 / (n_symbols + hparams.symbols_embedding_dim)) ** 0.5
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        self.encoder = Encoder(hparams)
        self.decoder = Decoder(hparams)
        self.postnet = Postnet(hparams)

    def forward(self, batch: Batch) -> AttentionOutput:
        memory, mask = self._encode(batch.text, batch.text_lengths)
        r = self.hparams.n_frames_per_step
        n_frames = batch.mels.size(2)
        padded = F.pad(batch.mels, (0, -n_frames % r))
        mels, gates, alignments = self.decoder(memory, mask, padded)
        mels = mels[:, :, :n_frames]
        mels_postnet = mels + self._postnet_residual(mels, batch.mel_lengths)
        output = AttentionOutput(mels, mels_postnet, gates, alignments)
        return self._mask(output, batch.mel_lengths) if self.hparams.mask_padding else output

    def _mask(self, output: AttentionOutput, mel_lengths: Tensor) -> AttentionOutput:
        steps = torch.ceil(mel_lengths / self.hparams.n_frames_per_step)
        is_padding = ~length_mask(mel_lengths, output.mels.size(2)).unsqueeze(1)
        is_after_end = ~length_mask(steps, output.gates.size(1))
        return AttentionOutput(
            output.mels.masked_fill(is_padding, 0.0),
            output.mels_postnet.masked_fill(is_padding, 0.0),
            output.gates.masked_fill(is_after_end, ENDED_GATE_LOGIT),
            output.alignments,
        )

    @property
    def frames_per_step(self) -> int:
        return self.hparams.n_frames_per_step

    def fold(self) -> None:
        """Nothing to do: no weight is parametrised."""

    def set_speed(self, speed: float) -> None:
        """Nothing to do: attention decides how long a symbol is spoken."""

    def set_gate_threshold(self, threshold: float) -> None:
        self.decoder.gate_threshold = threshold

    def losses(self, output: AttentionOutput, batch: Batch, knobs: LossKnobs) -> Losses:
        return tacotron2_losses(output, batch, knobs, self.hparams)

    def snapshot(self) -> list[Tensor]:
        """Running statistics of the batch normalisations."""
        return [buffer.clone() for buffer in self.buffers()]

    def restore(self, snapshot: list[Tensor]) -> None:
        for buffer, before in zip(self.buffers(), snapshot, strict=True):
            buffer.copy_(before)

    def measures(self) -> dict[str, float]:
        return {}

    def gradient_parts(self) -> dict[str, list[nn.Parameter]]:
        return {}

    def teacher_forced_output(self, output: AttentionOutput, batch: Batch) -> TeacherForcedOutput:
        steps = torch.ceil(batch.mel_lengths / self.frames_per_step).long()
        gates = torch.sigmoid(output.gates.float())
        return TeacherForcedOutput(output.mels_postnet, batch.mel_lengths, output.alignments, steps, gates, None)

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        text_lengths: Tensor,
        max_steps: int | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> TacotronFreeRunningOutput:
        max_steps = min(max_steps or self.hparams.max_decoder_steps, self.hparams.max_decoder_steps)
        # A single item takes so little time that converting the encoder's weights would cost more than it saves.
        with without_autocast(text) if len(text) == 1 and text.device.type == "cpu" else nullcontext():
            memory, _ = self._encode(text, text_lengths)
        decoded = self.decoder.decode(memory, text_lengths, max_steps=max_steps, dtype=matmul_dtype(memory))
        frames, gates = decoded.outputs[..., :-1], decoded.outputs[..., -1]
        before = frames.reshape(len(text), -1, self.hparams.n_mel_channels).transpose(1, 2)
        mel_lengths = decoded.steps * self.hparams.n_frames_per_step
        mels = before + self._postnet_residual(before, mel_lengths)
        return TacotronFreeRunningOutput(
            *(mels, mel_lengths, decoded.alignments, decoded.steps, decoded.stopped), before, gates
        )

    def _postnet_residual(self, mels: Tensor, lengths: Tensor) -> Tensor:
        """The postnet's correction of mels [B, n_mel, T]."""
        return self.postnet(mels.transpose(1, 2), lengths).transpose(1, 2)

    def _encode(self, text: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Memory [B, N, E] and the mask [B, N] of its tokens."""
        memory = self.encoder(self.embedding(text), lengths)
        return memory, length_mask(lengths, text.size(1))
