"""Reference implementations of Tacotron 2: torchaudio's, and ours computed frame by frame, with the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from corpus.audio.torchaudio_compat import torchaudio_module
from corpus.batches import Batch
from hparams import HParams
from models.interface import AttentionOutput
from models.tacotron2.decoder import Decoder
from models.tacotron2.model import Tacotron2

CLOSED_GATE_LOGIT = -1e4


def torchaudio_tacotron2(model: Tacotron2, hparams: HParams) -> nn.Module:
    """torchaudio's Tacotron 2 with copies of our weights."""
    module = torchaudio_module()
    peer: nn.Module = module.models.Tacotron2(
        mask_padding=False,
        n_mels=hparams.n_mel_channels,
        n_symbol=model.embedding.num_embeddings,
        n_frames_per_step=hparams.n_frames_per_step,
        symbol_embedding_dim=hparams.symbols_embedding_dim,
        encoder_embedding_dim=hparams.encoder_embedding_dim,
        encoder_n_convolution=hparams.encoder_n_convolutions,
        encoder_kernel_size=hparams.encoder_kernel_size,
        decoder_rnn_dim=hparams.decoder_rnn_dim,
        decoder_max_step=hparams.max_decoder_steps,
        decoder_dropout=hparams.p_decoder_dropout,
        attention_rnn_dim=hparams.attention_rnn_dim,
        attention_hidden_dim=hparams.attention_dim,
        attention_location_n_filter=hparams.attention_location_n_filters,
        attention_location_kernel_size=hparams.attention_location_kernel_size,
        attention_dropout=hparams.p_attention_dropout,
        prenet_dim=hparams.prenet_dim,
        postnet_n_convolution=hparams.postnet_n_convolutions,
        postnet_kernel_size=hparams.postnet_kernel_size,
        postnet_embedding_dim=hparams.postnet_embedding_dim,
        gate_threshold=hparams.gate_threshold,
    )
    peer.load_state_dict({torchaudio_name(name): value for name, value in model.state_dict().items()})
    return peer


def torchaudio_name(name: str) -> str:
    return name.replace(".conv.", ".").replace(".linear_layer.", ".")


def torchaudio_forward(peer: nn.Module, batch: Batch) -> AttentionOutput:
    """torchaudio's forward pass for any reduction factor: without its masking, which supports only factor 1."""
    memory = peer.encoder(peer.embedding(batch.text).transpose(1, 2), batch.text_lengths)  # type: ignore[operator]
    frames = batch.mels.transpose(1, 2).contiguous().transpose(1, 2)  # it groups frames by a view
    mels, gates, alignments = peer.decoder(memory, frames, memory_lengths=batch.text_lengths)  # type: ignore[operator]
    return AttentionOutput(mels, mels + peer.postnet(mels), gates, alignments)  # type: ignore[operator]


def decode_frame_by_frame(
    decoder: Decoder, memory: Tensor, mask: Tensor, mels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Teacher forcing as in the reference implementation: every layer once a decoder step, in autograd."""
    attention, width = decoder.attention_layer, decoder.n_mel * decoder.r
    targets = mels.transpose(1, 2).reshape(mels.size(0), -1, width)
    inputs = decoder.prenet(F.pad(targets[:, :-1], (0, 0, 1, 0)))
    processed_memory = attention.memory_layer(memory)
    batch_size, n_tokens = mask.shape
    attention_hidden, attention_cell = memory.new_zeros(2, batch_size, decoder.attention_rnn.hidden_size).unbind()
    decoder_hidden, decoder_cell = memory.new_zeros(2, batch_size, decoder.decoder_rnn.hidden_size).unbind()
    weights, summed_weights = memory.new_zeros(2, batch_size, n_tokens).unbind()
    context = memory.new_zeros(batch_size, memory.size(2))
    outputs: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in range(targets.size(1)):
        attention_input = torch.cat([inputs[:, t], context], 1)
        attention_hidden, attention_cell = decoder.attention_rnn(attention_input, (attention_hidden, attention_cell))
        attention_hidden = F.dropout(attention_hidden, decoder.p_attention_dropout, decoder.training)
        location = torch.stack([weights, summed_weights], 1)
        location = attention.location_layer.location_conv.conv(location).transpose(1, 2)
        query = attention.query_layer(attention_hidden).unsqueeze(1)
        features = query + attention.location_layer.location_dense(location)
        energies = attention.v(torch.tanh(features + processed_memory)).squeeze(2)
        weights = torch.softmax(energies.masked_fill(~mask, -torch.inf), 1)
        summed_weights = summed_weights + weights
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        decoder_input = torch.cat([attention_hidden, context], 1)
        decoder_hidden, decoder_cell = decoder.decoder_rnn(decoder_input, (decoder_hidden, decoder_cell))
        decoder_hidden = F.dropout(decoder_hidden, decoder.p_decoder_dropout, decoder.training)
        output_input = torch.cat([decoder_hidden, context], 1)
        outputs.append((decoder.linear_projection(output_input), decoder.gate_layer(output_input).squeeze(1), weights))
    frames, gates, alignments = (torch.stack(steps, 1) for steps in zip(*outputs, strict=True))
    return frames.reshape(batch_size, -1, decoder.n_mel).transpose(1, 2), gates, alignments


def disable_stopping(model: Tacotron2) -> None:
    """Keep the gate closed: every free-running decode lasts until its limit."""
    bias = model.decoder.gate_layer.linear_layer.bias
    assert bias is not None
    nn.init.constant_(bias, CLOSED_GATE_LOGIT)
