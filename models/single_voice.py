"""One voice that speaks freely on a CPU: what its steps need is laid out once, and they are taken by numba."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kept_weights import kept
from models.layers import dropout
from models.meeting import arrivals_of
from models.number_formats import array_of
from models.single_voice_steps import speak_on

if TYPE_CHECKING:
    from models.tacotron2 import Decoder

STEPS = 16
"""At most, in one stretch; what comes after the gate's opening is not said."""
MOST_THREADS = 8
"""More would wait for the memory only."""
SURELY = 0.01
"""A gate's logit is above the threshold's by so much: whoever looks again, by other arithmetic, finds it open too."""


class Weights(NamedTuple):
    """Those of `speak_on`, and what makes shares of a memory."""

    prenet: tuple[Tensor, Tensor]
    recurrent: Tensor
    query: Tensor
    location: Tensor
    energy: Tensor
    deep: Tensor
    output: Tensor
    of_memory: Tensor  # [4H + 4D + O, E]
    bias: Tensor  # [4H + 4D + O]


class SingleVoice:
    """The state of a decoder over one memory [1, N, E], and what it says in a stretch of steps."""

    def __init__(self, decoder: Decoder, memory: Tensor, lengths: Tensor, dtype: torch.dtype) -> None:
        weights = kept(decoder, ("a single voice", dtype), lambda: _weights(decoder, dtype))
        zeros, n_tokens, tokens = memory.new_zeros, memory.size(1), memory[0, : int(lengths)]
        n_heard, n_hidden, n_deep = len(weights.prenet[0]), weights.query.size(1), weights.output.size(1)
        self._p_dropout, self._keep = decoder.prenet.p_dropout, zeros(STEPS, 2, n_heard)
        self.said, self.alignments = zeros(STEPS, 1, len(weights.output)), zeros(STEPS, 1, n_tokens)
        tensors = (
            *(weights.recurrent, weights.query, weights.location, weights.energy, weights.deep, weights.output),
            F.linear(tokens.to(dtype), weights.of_memory, weights.bias.to(dtype)),
            decoder.attention_layer.memory_layer(tokens).to(dtype),
            self._keep,
            weights.bias.clone(),  # all that is made of a context of nothing
            *(zeros(1, n_heard + n_hidden), zeros(1, n_hidden + n_deep), zeros(1, n_hidden), zeros(1, n_deep)),
            zeros(2, n_tokens + len(weights.location) // 2 - 1),
            *(self.said.squeeze(1), self.alignments.squeeze(1)),
            *(zeros(1, 4 * n_hidden), zeros(1, 4 * n_deep), zeros(len(weights.energy)), zeros(len(tokens))),
        )
        self._arrays = [array_of(tensor) for tensor in tensors]
        self._prenet = array_of(weights.prenet[0]), array_of(weights.prenet[1])
        self._surely_open = SURELY + torch.logit(torch.tensor(decoder.gate_threshold)).item()

    def go_on(self) -> None:
        """Say what comes next."""
        self._keep.copy_(dropout(torch.ones_like(self._keep), self._p_dropout, training=True))
        n_threads = min(torch.get_num_threads(), MOST_THREADS)
        together: tuple[Any, ...] = (
            *(n_threads, arrivals_of(n_threads), self._surely_open, self._prenet),
            *self._arrays,
        )
        others = [threading.Thread(target=speak_on, args=(i, *together)) for i in range(1, n_threads)]
        for other in others:
            other.start()
        speak_on(0, *together)
        for other in others:
            other.join()


def _weights(decoder: Decoder, dtype: torch.dtype) -> Weights:
    first, second, attention = decoder.attention_rnn, decoder.decoder_rnn, decoder.attention_layer
    n_hidden, n_deep = first.hidden_size, second.hidden_size
    width = second.input_size - n_hidden
    projection, gate = decoder.linear_projection.linear_layer, decoder.gate_layer.linear_layer
    heard, context = first.weight_ih.split([first.input_size - width, width], dim=1)
    hidden, deep_context = second.weight_ih.split([n_hidden, width], dim=1)
    of_deep, of_context = torch.cat([projection.weight, gate.weight]).split([n_deep, width], dim=1)
    biases = first.bias_ih + first.bias_hh, second.bias_ih + second.bias_hh, projection.bias, gate.bias

    def short(*parts: Tensor) -> Tensor:
        return torch.cat(parts, dim=1).to(dtype).contiguous()

    return Weights(
        prenet=(short(decoder.prenet.weights()[0]), short(decoder.prenet.weights()[1])),
        recurrent=short(heard, first.weight_hh),
        query=short(attention.query_layer.linear_layer.weight),
        location=attention.location_layer.fused_weight().contiguous(),
        energy=attention.v.linear_layer.weight.squeeze(0),
        deep=short(hidden, second.weight_hh),
        output=short(of_deep),
        of_memory=torch.cat([context, deep_context, of_context]).to(dtype),
        bias=torch.cat(biases),
    )
