"""Location-sensitive attention over all steps of a teacher-forced pass, with its gradient worked out by hand.

Stepping through time in autograd pays for a node per operation and adds up every weight's gradient step by step. Here
the steps only do what depends on the step before; the gradients of the large weights are one product over all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.tacotron2 import attention_cpu as attention_on_cpu
from models.tacotron2 import attention_gpu as attention_on_gpu
from models.tacotron2.attention_buffers import Given, ScanWeights, Tape


class AttentionScan(torch.autograd.Function):
    """(inputs [S, B, 4H], which are the prenet's share of the gates with their biases, and memory, projected, lengths,
    keep, *weights, as `Given` has them) → hidden states [S, B, H], contexts [S, B, E], attention [S, B, N].
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        memory: Tensor,
        projected: Tensor,
        lengths: Tensor,
        keep: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w, width = ScanWeights(*weights), memory.size(2)
        given = Given(memory.contiguous(), projected.contiguous(), lengths, keep, w)
        tape = Tape.blank(keep, given.projected, width=width, kernel_size=w.location.size(0) // 2)
        (attention_on_cpu if memory.device.type == "cpu" else attention_on_gpu).scan(tape, given, inputs)
        ctx.save_for_backward(*given[:4], *tape, *weights)
        contexts, hiddens = tape.states[1:].split([width, tape.cells.size(2)], dim=2)
        return hiddens, contexts, tape.attention.contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hiddens: Tensor, d_contexts: Tensor, d_attention: Tensor) -> tuple[Tensor | None, ...]:
        memory, projected, lengths, keep, *kept = ctx.saved_tensors
        tape, weights = Tape(*kept[: len(Tape._fields)]), ScanWeights(*kept[len(Tape._fields) :])
        given = Given(memory, projected, lengths, keep, weights)
        steps = attention_on_cpu if d_hiddens.device.type == "cpu" else attention_on_gpu
        d = steps.scan_back(
            tape,
            given,
            torch.cat([d_contexts, d_hiddens], dim=2),
            d_attention.clone(memory_format=torch.contiguous_format),
        )
        width = given.memory.size(2)
        attention, changes = tape.attention.to(given.dtype), d.gates.flatten(0, 1)
        d_memory = torch.bmm(attention.permute(1, 2, 0), d.states[..., :width].transpose(0, 1))
        d_recurrent = tape.states[:-1].flatten(0, 1).t() @ changes
        d_query = tape.states[1:, :, width:].flatten(0, 1).t() @ d.queries.flatten(0, 1).to(given.dtype)
        of_weights = (d_recurrent, d_query, d.location, d.energy)
        wide = (found.to(weight.dtype) for found, weight in zip(of_weights, weights, strict=True))
        return d.gates, d_memory, d.projected, None, None, *wide
