"""Location-sensitive attention over all steps of a teacher-forced pass, with its gradient worked out by hand.

Stepping through time in autograd pays for a node per operation and adds up every weight's gradient step by step. Here
the steps only do what depends on the step before; the gradients of the large weights are one product over all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models import attention_on_cpu, attention_on_gpu
from models.attention_tape import Given, ScanWeights, Tape


class AttentionScan(torch.autograd.Function):
    """(inputs, memory, projected, lengths, keep, dtype, *weights), as `Given` has them → hidden states [S, B, H],
    contexts [S, B, E], attention [S, B, N].
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        memory: Tensor,
        projected: Tensor,
        lengths: Tensor,
        keep: Tensor,
        dtype: torch.dtype,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w, width = ScanWeights(*weights), memory.size(2)
        given = Given(inputs, memory.contiguous(), projected.contiguous(), lengths, keep, dtype, w)
        tape = Tape.blank(inputs, projected, width=width, kernel_size=w.location.size(0) // 2)
        (attention_on_cpu if inputs.device.type == "cpu" else attention_on_gpu).scan(tape, given)
        ctx.save_for_backward(*given[:5], *tape, *weights)
        ctx.dtype = dtype
        contexts, hiddens = tape.states[1:].split([width, tape.cells.size(2)], dim=2)
        return hiddens.contiguous(), contexts.contiguous(), tape.attention.contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hiddens: Tensor, d_contexts: Tensor, d_attention: Tensor) -> tuple[Tensor | None, ...]:
        saved, n = ctx.saved_tensors, 5 + len(Tape._fields)
        inputs, memory, projected, lengths, keep = saved[:5]
        given = Given(inputs, memory, projected, lengths, keep, ctx.dtype, ScanWeights(*saved[n:]))
        tape = Tape(*saved[5:n])
        steps = attention_on_cpu if d_hiddens.device.type == "cpu" else attention_on_gpu
        d = steps.scan_back(
            tape,
            given,
            torch.cat([d_contexts, d_hiddens], dim=2),
            d_attention.clone(memory_format=torch.contiguous_format),
        )
        width = given.memory.size(2)
        d_memory = torch.bmm(tape.attention.permute(1, 2, 0), d.states[..., :width].transpose(0, 1))
        before, changes = tape.states[:-1].flatten(0, 1).to(ctx.dtype), d.gates.flatten(0, 1).to(ctx.dtype)
        d_recurrent = (before.t() @ changes).to(given.weights.recurrent.dtype)
        d_query = tape.states[1:, :, width:].flatten(0, 1).t() @ d.queries.flatten(0, 1)
        return d.gates, d_memory, d.projected, None, None, None, d_recurrent, d_query, d.location, d.energy
