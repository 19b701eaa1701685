"""Location-sensitive attention over all steps of a teacher-forced pass, with a hand-written gradient.

Stepping through time in autograd costs a node per operation and adds up every weight's gradient step by step. Here the
steps compute only what depends on the step before; the gradients of the large weights are one product over all steps.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from models.kernels.choice import uses_cpu_kernels
from models.tacotron2 import attention_cpu, attention_gpu
from models.tacotron2.attention_buffers import AttentionBuffers, ScanInputs, ScanWeights

N_BUFFERS = len(AttentionBuffers._fields)


def _steps_module(x: Tensor) -> ModuleType:
    """The module that computes the steps; `attention_gpu` consists of torch operations."""
    return attention_cpu if uses_cpu_kernels(x) else attention_gpu


class AttentionScan(torch.autograd.Function):
    """Attention LSTM and attention of all steps.

    (gate inputs [S, B, 4H], which are the prenet's share of the gates with their biases, memory, processed memory,
    lengths, keep, *weights; all but the first as in `ScanInputs`) → hidden states [S, B, H], contexts [S, B, E],
    attention [S, B, N].
    """

    @staticmethod
    def forward(
        ctx: Any,
        gate_inputs: Tensor,
        memory: Tensor,
        processed_memory: Tensor,
        lengths: Tensor,
        keep: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        scan_weights, width = ScanWeights(*weights), memory.size(2)
        inputs = ScanInputs(memory.contiguous(), processed_memory.contiguous(), lengths, keep, scan_weights)
        kernel_size = scan_weights.location.size(0) // 2
        buffers = AttentionBuffers.allocate(keep, inputs.processed_memory, memory_width=width, kernel_size=kernel_size)
        _steps_module(memory).scan(buffers, inputs, gate_inputs)
        ctx.save_for_backward(*inputs[:4], *buffers, *weights)
        contexts, hiddens = buffers.states[1:].split([width, buffers.cells.size(2)], dim=2)
        return hiddens, contexts, buffers.attention.contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hiddens: Tensor, d_contexts: Tensor, d_attention: Tensor) -> tuple[Tensor | None, ...]:
        memory, processed_memory, lengths, keep, *saved = ctx.saved_tensors
        buffers, weights = AttentionBuffers(*saved[:N_BUFFERS]), ScanWeights(*saved[N_BUFFERS:])
        inputs = ScanInputs(memory, processed_memory, lengths, keep, weights)
        steps = _steps_module(memory)
        d_states = torch.cat([d_contexts, d_hiddens], dim=2)
        d = steps.scan_back(buffers, inputs, d_states, d_attention.clone(memory_format=torch.contiguous_format))
        width = memory.size(2)
        attention, d_gates = buffers.attention.to(inputs.dtype), d.gates.flatten(0, 1)
        d_memory = torch.bmm(attention.permute(1, 2, 0), d.states[..., :width].transpose(0, 1))
        d_recurrent = buffers.states[:-1].flatten(0, 1).t() @ d_gates
        d_query = buffers.states[1:, :, width:].flatten(0, 1).t() @ d.queries.flatten(0, 1).to(inputs.dtype)
        d_weights = (d_recurrent, d_query, d.location, d.energy)
        widened = (gradient.to(weight.dtype) for gradient, weight in zip(d_weights, weights, strict=True))
        return d.gates, d_memory, d.processed_memory, None, None, *widened
