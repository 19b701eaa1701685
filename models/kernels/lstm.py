"""LSTM over all steps on a CPU, with its own gradient.

It replaces torch.lstm in bfloat16, which takes three times as long there and computes a wrong gradient of wide layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.kernels.bfloat16 import numpy_view
from models.kernels.lstm_steps import add_all_rows, lstm_step, lstm_step_back
from models.kernels.packed_linear import PackedLinear


class LstmScan(torch.autograd.Function):
    """(inputs [S, B, 4H] with both biases, recurrent weights [4H, H]) → hidden states [S, B, H].

    Inputs and states are in the format of the products; the weights may be wider.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        (n_steps, batch, _), n_hidden = inputs.shape, weight.size(1)
        states, cells = inputs.new_zeros(n_steps + 1, batch, n_hidden), weight.new_zeros(n_steps + 1, batch, n_hidden)
        keep, hidden, gates = torch.ones_like(cells[0]), torch.empty_like(cells[0]), weight.new_empty(inputs.shape)
        recurrent, state_at = PackedLinear(weight, inputs.dtype, batch), states.unbind()
        states_np, cells_np, gates_np, inputs_np = (list(numpy_view(x)) for x in (states, cells, gates, inputs))
        keep_np, hidden_np, n_threads = keep.numpy(), hidden.numpy(), torch.get_num_threads()
        for t in range(n_steps):
            product = numpy_view(recurrent(state_at[t]))
            before = product, inputs_np[t], cells_np[t], keep_np
            lstm_step(n_threads, *before, gates_np[t], cells_np[t + 1], hidden_np, states_np[t + 1])
        ctx.save_for_backward(weight, states, cells, gates)
        return states[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor, Tensor]:
        weight, states, cells, gates = ctx.saved_tensors
        d_gates, d_cell = torch.empty_like(gates, dtype=states.dtype), torch.zeros_like(cells[0])
        d_hidden, keep = torch.empty_like(d_cell), torch.ones_like(d_cell).numpy()
        recurrent, d_gates_at = PackedLinear(weight.t(), states.dtype, len(d_cell)), d_gates.unbind()
        d_states_np, d_gates_np, cells_np, gates_np = (
            list(numpy_view(x)) for x in (d_states.contiguous(), d_gates, cells, gates)
        )
        d_cell_np, d_hidden_np, n_threads = d_cell.numpy(), d_hidden.numpy(), torch.get_num_threads()
        product = numpy_view(torch.zeros_like(states[0]))
        for t in reversed(range(len(gates))):
            add_all_rows(d_states_np[t], product, d_hidden_np)
            saved = gates_np[t], cells_np[t], cells_np[t + 1], keep
            lstm_step_back(n_threads, d_hidden_np, d_cell_np, *saved, d_gates_np[t])
            if t:
                product = numpy_view(recurrent(d_gates_at[t]))
        d_weight = d_gates.flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        return d_gates, d_weight.to(weight.dtype)
