"""Tacotron 2's decoder speaking freely: each step is fed what the one before has said."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from models.kernels.cuda_graph import recorded
from models.kernels.packed_linear import RepeatedProduct
from models.kernels.weight_cache import kept
from models.layers import dropout, precise, without_autocast
from models.tacotron2.decode_one import SingleVoice
from models.tacotron2.decode_state import SpeakingState, StepsInTorch, StepsOnCpu

if TYPE_CHECKING:
    from models.tacotron2.model import Decoder

STEPS = 8
"""Between two looks at whether all have ended; on a GPU they are one CUDA graph."""


class Spoken(NamedTuple):
    """S steps; item b is valid up to its own."""

    said: Tensor  # [B, S, n_mel·r + 1] frames and the gate's logit
    alignments: Tensor  # [B, S, N]
    steps: Tensor  # [B]
    stopped: Tensor  # [B] bool: by itself


@torch.no_grad()
def speak(decoder: Decoder, memory: Tensor, lengths: Tensor, *, max_steps: int, dtype: torch.dtype) -> Spoken:
    """Until all have ended, or `max_steps`; the large products are taken in `dtype`."""
    said: list[Tensor] = []
    alignments: list[Tensor] = []
    steps, stopped = torch.full_like(lengths, max_steps), torch.zeros_like(lengths, dtype=torch.bool)
    with without_autocast(memory):
        kind_of_voice = SingleVoice if speaks_alone(memory) else FreeRunning
        voice = kind_of_voice(decoder, precise(memory), lengths, dtype)
        begin = 0
        while begin < max_steps and not bool(stopped.all()):
            voice.go_on()
            said.append(voice.said[: max_steps - begin].clone())
            alignments.append(voice.alignments[: max_steps - begin].clone())
            opened = torch.sigmoid(said[-1][..., -1]) > decoder.gate_threshold
            ends = opened.any(0) & ~stopped
            steps = torch.where(ends, begin + 1 + opened.int().argmax(0), steps)
            stopped = stopped | ends
            begin += len(voice.said)
    n_steps = int(steps.max())
    all_said, all_alignments = (torch.cat(each)[:n_steps].transpose(0, 1) for each in (said, alignments))
    return Spoken(all_said, all_alignments, steps, stopped)


def speaks_alone(items: Tensor) -> bool:
    """Alone on a CPU it is heard sooner in another way."""
    return len(items) == 1 and items.device.type == "cpu"


class FreeRunning:
    """The state of a decoder over one memory [B, N, E], and what it says in a stretch of steps."""

    def __init__(self, decoder: Decoder, memory: Tensor, lengths: Tensor, dtype: torch.dtype) -> None:
        layout = "several voices", dtype, len(memory)
        self._recurrent, self._deep = kept(decoder, layout, lambda: _products(decoder, dtype, len(memory)))
        self._p_dropout, self._state = decoder.prenet.p_dropout, _state(decoder, memory, lengths, dtype)
        self._steps = (StepsOnCpu if memory.device.type == "cpu" else StepsInTorch)(self._state)
        self.said, self.alignments = self._state.said, self._state.alignments
        self._run = recorded(self._stretch, memory.device)
        self._state.begin()

    def go_on(self) -> None:
        """Say what comes next."""
        keep = self._state.keep
        keep.copy_(dropout(torch.ones_like(keep), self._p_dropout, training=True))
        self._run()

    def _stretch(self) -> None:
        for t in range(STEPS):
            self._steps.hear(t)
            self._steps.look(t, self._recurrent(self._state.listening))
            self._steps.say(t, self._deep(self._state.thinking))


def _products(decoder: Decoder, dtype: torch.dtype, n_rows: int) -> tuple[RepeatedProduct, RepeatedProduct]:
    """Of both LSTMs."""
    first, second = decoder.attention_rnn, decoder.decoder_rnn
    hidden, context = second.weight_ih.tensor_split([first.hidden_size], dim=1)
    of_listening = torch.cat([first.weight_ih, first.weight_hh], 1)
    of_thinking = torch.cat([context, hidden, second.weight_hh], 1)
    return RepeatedProduct(of_listening, dtype, n_rows), RepeatedProduct(of_thinking, dtype, n_rows)


def _state(decoder: Decoder, memory: Tensor, lengths: Tensor, dtype: torch.dtype) -> SpeakingState:
    (batch, n_tokens, width), zeros = memory.shape, memory.new_zeros
    first, second = decoder.attention_rnn, decoder.decoder_rnn
    projection, gate = decoder.linear_projection.linear_layer, decoder.gate_layer.linear_layer
    attention, n_heard = decoder.attention_layer, first.input_size - width
    location = attention.location_layer.fused_weight()

    def biases(cell: nn.LSTMCell) -> Tensor:
        return (cell.bias_ih + cell.bias_hh).to(dtype).repeat(batch, 1)

    return SpeakingState(
        prenet=decoder.prenet.weights(),
        query=attention.query_layer.linear_layer.weight.t(),
        location=location,
        energy=attention.v.linear_layer.weight.squeeze(0),
        biases=biases(first),
        deep_biases=biases(second),
        output=torch.cat([projection.weight, gate.weight]),
        output_bias=torch.cat([projection.bias, gate.bias]),
        lengths=lengths,
        memory=memory.to(dtype).contiguous(),
        projected=attention.memory_layer(memory).to(dtype),
        keep=zeros(STEPS, 2, batch, n_heard),
        said=zeros(STEPS, batch, decoder.n_mel * decoder.r + 1),
        alignments=zeros(STEPS, batch, n_tokens),
        listening=zeros(batch, n_heard + width + first.hidden_size, dtype=dtype),
        thinking=zeros(batch, width + first.hidden_size + second.hidden_size, dtype=dtype),
        cell=zeros(batch, first.hidden_size),
        deep_cell=zeros(batch, second.hidden_size),
        looked=zeros(batch, 2, n_tokens + location.size(0) // 2 - 1),
    )
