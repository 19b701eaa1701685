"""An LSTM over all steps on a CPU, with its gradient: torch's own takes three times as long in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.attention_steps import step_lstm, step_lstm_back
from models.repeated_product import RepeatedProduct


class LstmScan(torch.autograd.Function):
    """(inputs [S, B, 4H] with both biases, recurrent weights [4H, H], dtype of products) → hidden states [S, B, H]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        (n_steps, batch, _), n_hidden = inputs.shape, weight.size(1)
        states, cells = inputs.new_zeros(2, n_steps + 1, batch, n_hidden).unbind()
        keep, gates = torch.ones_like(cells[0]).numpy(), inputs.new_empty(inputs.shape)
        recurrent = RepeatedProduct(weight, dtype, batch)
        of_states, of_cells, of_gates = (each.numpy() for each in (states, cells, gates))
        for t in range(n_steps):
            recurrent.add_to(inputs[t], states[t], out=gates[t])
            step_lstm(of_gates[t], of_cells[t], keep, of_cells[t + 1], of_states[t + 1])
        ctx.save_for_backward(weight, states, cells, gates)
        ctx.dtype = dtype
        return states[1:].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_hidden: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, states, cells, gates = ctx.saved_tensors
        d_states = d_hidden.clone(memory_format=torch.contiguous_format)
        d_gates, d_cell = torch.empty_like(gates), torch.zeros_like(cells[0])
        keep, recurrent = torch.ones_like(d_cell).numpy(), RepeatedProduct(weight.t(), ctx.dtype, len(d_cell))
        of_states, of_gates, of_cell = (each.numpy() for each in (d_states, d_gates, d_cell))
        were_cells, were_gates = cells.numpy(), gates.numpy()
        for t in reversed(range(len(gates))):
            old, new = were_cells[t], were_cells[t + 1]
            step_lstm_back(of_states[t], of_cell, were_gates[t], old, new, keep, of_gates[t])
            if t:
                recurrent.add_to(d_states[t - 1], d_gates[t], out=d_states[t - 1])
        changes, before = d_gates.flatten(0, 1).to(ctx.dtype), states[:-1].flatten(0, 1).to(ctx.dtype)
        return d_gates, (changes.t() @ before).to(weight.dtype), None
