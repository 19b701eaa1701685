"""Tacotron 2 with location-sensitive attention, a reduction factor and properly masked padding.

Under teacher forcing only the attention LSTM has to step through time; the prenet, the decoder LSTM and the output
projections run once over all steps. Module names give the state_dict keys of the NVIDIA implementation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corpus.batches import Axis, Batch
from hparams import HParams
from models.interface import AttentionOutput, FreeRunningOutput, Losses, LossKnobs, TeacherForcedOutput
from models.kernels.weight_cache import forget
from models.layers import (
    Conv,
    ConvNorm,
    Linear,
    dropout,
    length_mask,
    product_dtype,
    run_lstm,
    run_lstm_both_ways,
    without_autocast,
)
from models.tacotron2.attention import AttentionScan
from models.tacotron2.attention_buffers import ScanWeights
from models.tacotron2.decode_batch import speak, speaks_alone
from models.tacotron2.loss import tacotron2_losses

TYPICAL_LOG_MEL = -5.0  # of speech: the output starts there, or the first hundred steps would go into learning it
CLOSED_GATE_LOGIT = 1000.0  # written into the padding of gates, as the reference does: "it has stopped"


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
        return run_lstm_both_ways(self.lstm, x, lengths)


class Prenet(nn.Module):
    """Two narrow layers whose dropout stays on in synthesis: [..., n_mel·r] → [..., prenet_dim]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        n_inputs = hparams.n_mel_channels * hparams.n_frames_per_step
        self.p_dropout = hparams.p_prenet_dropout
        self.layers = nn.ModuleList(Linear(n, hparams.prenet_dim, bias=False) for n in (n_inputs, hparams.prenet_dim))

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights():
            x = dropout(F.relu(F.linear(x, weight)), self.p_dropout, training=True)
        return x

    def weights(self) -> tuple[Tensor, Tensor]:
        first, second = (layer.get_parameter("linear_layer.weight") for layer in self.layers)
        return first, second


class LocationLayer(nn.Module):
    """Features of where the attention was, last step and summed over all: [B, 2, N] → [B, N, attention_dim]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        n_filters = hparams.attention_location_n_filters
        self.location_conv = Conv(2, n_filters, kernel_size=hparams.attention_location_kernel_size, bias=False)
        self.location_dense = Linear(n_filters, hparams.attention_dim, bias=False, gain="tanh")

    def fused_weight(self) -> Tensor:
        """Both layers are linear: one matrix [2·kernel, attention_dim] does their work in one product."""
        convolution = self.location_conv.conv.weight  # [F, 2, K]
        return (self.location_dense.linear_layer.weight @ convolution.flatten(1)).t()


class Attention(nn.Module):
    """The parameters of location-sensitive attention; `AttentionScan` and `FreeRunning` use them."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        dim = hparams.attention_dim
        self.query_layer = Linear(hparams.attention_rnn_dim, dim, bias=False, gain="tanh")
        self.memory_layer = Linear(hparams.encoder_embedding_dim, dim, bias=False, gain="tanh")
        self.v = Linear(dim, 1, bias=False)
        self.location_layer = LocationLayer(hparams)


class Decoder(nn.Module):
    """Memory [B, N, E] → mel frames, r a step, with the gate that ends them."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        self.r, self.n_mel = hparams.n_frames_per_step, hparams.n_mel_channels
        self.p_attention_dropout, self.p_decoder_dropout = hparams.p_attention_dropout, hparams.p_decoder_dropout
        self.gate_threshold = hparams.gate_threshold
        width, rnn = hparams.encoder_embedding_dim, hparams.attention_rnn_dim
        self.prenet = Prenet(hparams)
        self.attention_rnn = nn.LSTMCell(hparams.prenet_dim + width, rnn)
        self.attention_layer = Attention(hparams)
        self.decoder_rnn = nn.LSTMCell(rnn + width, hparams.decoder_rnn_dim)
        self.linear_projection = Linear(hparams.decoder_rnn_dim + width, self.n_mel * self.r)
        nn.init.constant_(self.linear_projection.linear_layer.bias, TYPICAL_LOG_MEL)
        self.gate_layer = Linear(hparams.decoder_rnn_dim + width, 1, gain="sigmoid")

    def forward(self, memory: Tensor, mask: Tensor, mels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Teacher forcing with mels [B, n_mel, S·r] → mels, gate logits [B, S], alignments [B, S, N]."""
        steps = mels.transpose(1, 2).reshape(mels.size(0), -1, self.n_mel * self.r)
        previous = F.pad(steps[:, :-1], (0, 0, 1, 0))
        hidden, context, alignments = self._attend_all(self.prenet(previous), memory, mask.sum(1))
        decoded = self._decode_all(torch.cat([hidden, context], dim=2))
        frames, gates = self._project(torch.cat([decoded, context], dim=2))
        return frames, gates, alignments

    def train(self, mode: bool = True) -> Self:
        if mode:
            forget(self)
        return super().train(mode)

    def _attend_all(self, prenet: Tensor, memory: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The attention LSTM and the attention, step by step: hidden states, contexts and attention [B, S, …]."""
        cell, width = self.attention_rnn, memory.size(2)
        p_dropout = self.p_attention_dropout if self.training else 0.0
        weight, bias = cell.weight_ih[:, : cell.input_size - width], cell.bias_ih + cell.bias_hh
        inputs, projected = F.linear(prenet, weight, bias).transpose(0, 1), self.attention_layer.memory_layer(memory)
        with without_autocast(memory):
            keep = dropout(weight.new_ones(*inputs.shape[:2], cell.hidden_size), p_dropout, training=True)
            weights = self.scan_weights(width)
            found = AttentionScan.apply(inputs, memory.to(inputs.dtype), projected, lengths, keep, *weights)
        hidden, context, alignments = (x.transpose(0, 1) for x in found)
        return hidden, context, alignments

    def scan_weights(self, width: int) -> ScanWeights:
        """What the steps over a memory of this width use, but for the prenet's share of the gates."""
        cell, attention = self.attention_rnn, self.attention_layer
        return ScanWeights(
            recurrent=torch.cat([cell.weight_ih[:, cell.input_size - width :], cell.weight_hh], dim=1).t(),
            query=attention.query_layer.linear_layer.weight.t(),
            location=attention.location_layer.fused_weight(),
            energy=attention.v.linear_layer.weight.squeeze(0),
        )

    def _decode_all(self, inputs: Tensor) -> Tensor:
        """The decoder LSTM over all steps at once: [B, S, rnn + E] → [B, S, decoder_rnn_dim]."""
        cell = self.decoder_rnn
        hidden = run_lstm(inputs, [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh])
        return dropout(hidden, self.p_decoder_dropout, training=self.training)

    def _project(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, decoder_rnn_dim + E] → frames [B, n_mel, S·r] and gate logits [B, S]."""
        frames = self.linear_projection(hidden).reshape(hidden.size(0), -1, self.n_mel).transpose(1, 2)
        return frames, self.gate_layer(hidden).squeeze(2)


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
        nn.init.zeros_(last.norm.weight)  # it starts as no correction at all
        self.convolutions.append(last)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = None if self.leaky else length_mask(lengths, x.size(1))
        for convolution in self.convolutions[:-1]:
            x = dropout(torch.tanh(convolution(x, mask)), self.p_dropout, training=self.training)
        return dropout(self.convolutions[-1](x, mask), self.p_dropout, training=self.training)


@dataclass(frozen=True)
class TacotronFreeRunningOutput(FreeRunningOutput):
    """With what only Tacotron 2 has."""

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
        memory, mask = self._remember(batch.text, batch.text_lengths)
        r = self.hparams.n_frames_per_step
        n_frames = batch.mels.size(2)
        padded = F.pad(batch.mels, (0, -n_frames % r))
        mels, gates, alignments = self.decoder(memory, mask, padded)
        mels = mels[:, :, :n_frames]
        mels_postnet = mels + self._sharpen(mels, batch.mel_lengths)
        output = AttentionOutput(mels, mels_postnet, gates, alignments)
        return self._mask(output, batch.mel_lengths) if self.hparams.mask_padding else output

    def _mask(self, output: AttentionOutput, mel_lengths: Tensor) -> AttentionOutput:
        steps = torch.ceil(mel_lengths / self.hparams.n_frames_per_step)
        beyond = ~length_mask(mel_lengths, output.mels.size(2)).unsqueeze(1)
        stopped = ~length_mask(steps, output.gates.size(1))
        return AttentionOutput(
            output.mels.masked_fill(beyond, 0.0),
            output.mels_postnet.masked_fill(beyond, 0.0),
            output.gates.masked_fill(stopped, CLOSED_GATE_LOGIT),
            output.alignments,
        )

    @property
    def frames_per_step(self) -> int:
        return self.hparams.n_frames_per_step

    def fold(self) -> None:
        """Its weights are no products."""

    def set_gate_threshold(self, threshold: float) -> None:
        self.decoder.gate_threshold = threshold

    def losses(self, output: AttentionOutput, batch: Batch, knobs: LossKnobs) -> Losses:
        return tacotron2_losses(output, batch, knobs, self.hparams)

    def snapshot(self) -> list[Tensor]:
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
        limit = min(max_steps or self.hparams.max_decoder_steps, self.hparams.max_decoder_steps)
        briefly = speaks_alone(text)  # too briefly to convert the encoder's weights for it
        with without_autocast(text) if briefly else nullcontext():
            memory, _ = self._remember(text, text_lengths)
        said, alignments, steps, stopped = speak(
            self.decoder, memory, text_lengths, max_steps=limit, dtype=product_dtype(memory)
        )
        before = said[..., :-1].reshape(len(text), -1, self.hparams.n_mel_channels).transpose(1, 2)
        mel_lengths = steps * self.hparams.n_frames_per_step
        mels = before + self._sharpen(before, mel_lengths)
        return TacotronFreeRunningOutput(mels, mel_lengths, alignments, steps, stopped, before, said[..., -1])

    def _sharpen(self, mels: Tensor, lengths: Tensor) -> Tensor:
        """The postnet's correction of mels [B, n_mel, T]."""
        return self.postnet(mels.transpose(1, 2), lengths).transpose(1, 2)

    def _remember(self, text: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Memory [B, N, E] and the mask [B, N] of its real tokens."""
        memory = self.encoder(self.embedding(text), lengths)
        return memory, length_mask(lengths, text.size(1))
