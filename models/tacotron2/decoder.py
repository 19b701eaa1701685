"""Tacotron 2's decoder: memory to mel frames, teacher-forced over all steps at once or free-running.

Under teacher forcing only the attention LSTM has to step through time; the prenet, the decoder LSTM and the output
projections run once over all steps.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hparams import HParams
from models.kernels.weight_cache import drop_cached
from models.layers import Conv, Linear, at_least_float32, dropout, run_lstm, without_autocast
from models.tacotron2.attention import AttentionScan
from models.tacotron2.attention_buffers import ScanWeights
from models.tacotron2.decode_batch import DecoderOutput, decode
from models.tacotron2.decode_state import DecodeOptions, DecoderWeights, LstmWeights

TYPICAL_LOG_MEL = -5.0  # of speech: as the initial output bias it saves the first hundred steps of training


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
    """Features of the last and the cumulative attention: [B, 2, N] → [B, N, attention_dim]."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        n_filters = hparams.attention_location_n_filters
        self.location_conv = Conv(2, n_filters, kernel_size=hparams.attention_location_kernel_size, bias=False)
        self.location_dense = Linear(n_filters, hparams.attention_dim, bias=False, gain="tanh")

    def fused_weight(self) -> Tensor:
        """Both layers as one matrix [2·kernel, attention_dim], since both are linear."""
        convolution = self.location_conv.conv.weight  # [F, 2, K]
        return (self.location_dense.linear_layer.weight @ convolution.flatten(1)).t()


class Attention(nn.Module):
    """Parameters of location-sensitive attention; `AttentionScan` and the free-running decoders compute it."""

    def __init__(self, hparams: HParams) -> None:
        super().__init__()
        dim = hparams.attention_dim
        self.query_layer = Linear(hparams.attention_rnn_dim, dim, bias=False, gain="tanh")
        self.memory_layer = Linear(hparams.encoder_embedding_dim, dim, bias=False, gain="tanh")
        self.v = Linear(dim, 1, bias=False)
        self.location_layer = LocationLayer(hparams)


class Decoder(nn.Module):
    """Memory [B, N, E] → mel frames, r per step, with the gate that ends them."""

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
        hidden, context, alignments = self._run_attention(self.prenet(previous), memory, mask.sum(1))
        decoded = self._run_decoder_lstm(torch.cat([hidden, context], dim=2))
        frames, gates = self._project(torch.cat([decoded, context], dim=2))
        return frames, gates, alignments

    @torch.no_grad()
    def decode(self, memory: Tensor, lengths: Tensor, *, max_steps: int, dtype: torch.dtype) -> DecoderOutput:
        """Free-running decoding with the large products in `dtype`."""
        options = DecodeOptions(max_steps, dtype, self.gate_threshold, self.prenet.p_dropout)
        with without_autocast(memory):
            return decode(self.decode_weights(), at_least_float32(memory), lengths, options)

    def train(self, mode: bool = True) -> Self:
        if mode:
            drop_cached(self)
        return super().train(mode)

    def _run_attention(self, prenet: Tensor, memory: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The attention LSTM and the attention, step by step: hidden states, contexts and attention [B, S, …]."""
        cell, width = self.attention_rnn, memory.size(2)
        p_dropout = self.p_attention_dropout if self.training else 0.0
        weight, bias = cell.weight_ih[:, : cell.input_size - width], cell.bias_ih + cell.bias_hh
        gate_inputs = F.linear(prenet, weight, bias).transpose(0, 1)
        processed_memory = self.attention_layer.memory_layer(memory)
        with without_autocast(memory):
            keep = dropout(weight.new_ones(*gate_inputs.shape[:2], cell.hidden_size), p_dropout, training=True)
            inputs = gate_inputs, memory.to(gate_inputs.dtype), processed_memory, lengths, keep
            results = AttentionScan.apply(*inputs, *self.scan_weights(width))
        hidden, context, alignments = (x.transpose(0, 1) for x in results)
        return hidden, context, alignments

    def scan_weights(self, memory_width: int) -> ScanWeights:
        """Weights of the attention steps, without the prenet's share of the LSTM's."""
        cell, attention = self.attention_rnn, self.attention_layer
        return ScanWeights(
            recurrent=torch.cat([cell.weight_ih[:, cell.input_size - memory_width :], cell.weight_hh], dim=1).t(),
            query=attention.query_layer.linear_layer.weight.t(),
            location=attention.location_layer.fused_weight(),
            energy=attention.v.linear_layer.weight.squeeze(0),
        )

    def decode_weights(self) -> DecoderWeights:
        attention = self.attention_layer
        projection, gate = self.linear_projection.linear_layer, self.gate_layer.linear_layer
        return DecoderWeights(
            module=self,
            prenet=self.prenet.weights(),
            attention_lstm=LstmWeights.of_cell(self.attention_rnn),
            decoder_lstm=LstmWeights.of_cell(self.decoder_rnn),
            memory=attention.memory_layer.linear_layer.weight,
            query=attention.query_layer.linear_layer.weight,
            location=attention.location_layer.fused_weight(),
            energy=attention.v.linear_layer.weight.squeeze(0),
            output=torch.cat([projection.weight, gate.weight]),
            output_bias=torch.cat([projection.bias, gate.bias]),
        )

    def _run_decoder_lstm(self, inputs: Tensor) -> Tensor:
        """The decoder LSTM over all steps at once: [B, S, rnn + E] → [B, S, decoder_rnn_dim]."""
        cell = self.decoder_rnn
        hidden = run_lstm(inputs, [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh])
        return dropout(hidden, self.p_decoder_dropout, training=self.training)

    def _project(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, decoder_rnn_dim + E] → frames [B, n_mel, S·r] and gate logits [B, S]."""
        frames = self.linear_projection(hidden).reshape(hidden.size(0), -1, self.n_mel).transpose(1, 2)
        return frames, self.gate_layer(hidden).squeeze(2)
