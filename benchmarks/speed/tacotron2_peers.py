"""What Tacotron 2 is measured against: torchaudio's with the same weights, and ours stepping through every frame."""

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

NEVER_STOPS = -1e4  # logit of a gate


def torchaudios(model: Tacotron2, hparams: HParams) -> nn.Module:
    """torchaudio's Tacotron 2 with the weights of ours; it holds copies."""
    module = torchaudio_module()
    found: nn.Module = module.models.Tacotron2(
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
    found.load_state_dict({torchaudios_name(name): value for name, value in model.state_dict().items()})
    return found


def torchaudios_name(name: str) -> str:
    return name.replace(".conv.", ".").replace(".linear_layer.", ".")


def torchaudios_pass(peer: nn.Module, batch: Batch) -> AttentionOutput:
    """As its own forward pass, but for any reduction factor, which its masking does not know."""
    memory = peer.encoder(peer.embedding(batch.text).transpose(1, 2), batch.text_lengths)  # type: ignore[operator]
    frames = batch.mels.transpose(1, 2).contiguous().transpose(1, 2)  # it takes several at once by a view
    mels, gates, alignments = peer.decoder(memory, frames, memory_lengths=batch.text_lengths)  # type: ignore[operator]
    return AttentionOutput(mels, mels + peer.postnet(mels), gates, alignments)  # type: ignore[operator]


def step_through_frames(decoder: Decoder, memory: Tensor, mask: Tensor, mels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Teacher forcing as the reference does it: every layer once a step, in autograd."""
    attention, width = decoder.attention_layer, decoder.n_mel * decoder.r
    steps = mels.transpose(1, 2).reshape(mels.size(0), -1, width)
    inputs = decoder.prenet(F.pad(steps[:, :-1], (0, 0, 1, 0)))
    processed = attention.memory_layer(memory)
    batch, n_tokens = mask.shape
    hidden, cell = memory.new_zeros(2, batch, decoder.attention_rnn.hidden_size).unbind()
    deep_hidden, deep_cell = memory.new_zeros(2, batch, decoder.decoder_rnn.hidden_size).unbind()
    weights, summed = memory.new_zeros(2, batch, n_tokens).unbind()
    context = memory.new_zeros(batch, memory.size(2))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in range(steps.size(1)):
        hidden, cell = decoder.attention_rnn(torch.cat([inputs[:, t], context], 1), (hidden, cell))
        hidden = F.dropout(hidden, decoder.p_attention_dropout, decoder.training)
        looked = attention.location_layer.location_conv.conv(torch.stack([weights, summed], 1)).transpose(1, 2)
        features = attention.query_layer(hidden).unsqueeze(1) + attention.location_layer.location_dense(looked)
        energies = attention.v(torch.tanh(features + processed)).squeeze(2)
        weights = torch.softmax(energies.masked_fill(~mask, -torch.inf), 1)
        summed = summed + weights
        context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        deep_hidden, deep_cell = decoder.decoder_rnn(torch.cat([hidden, context], 1), (deep_hidden, deep_cell))
        deep_hidden = F.dropout(deep_hidden, decoder.p_decoder_dropout, decoder.training)
        both = torch.cat([deep_hidden, context], 1)
        found.append((decoder.linear_projection(both), decoder.gate_layer(both).squeeze(1), weights))
    frames, gates, alignments = (torch.stack(each, 1) for each in zip(*found, strict=True))
    return frames.reshape(batch, -1, decoder.n_mel).transpose(1, 2), gates, alignments


def never_stop(model: Tacotron2) -> None:
    """Free running then goes on to its limit: all speak as long."""
    bias = model.decoder.gate_layer.linear_layer.bias
    assert bias is not None
    nn.init.constant_(bias, NEVER_STOPS)
