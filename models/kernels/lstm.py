"""An LSTM over all steps on a CPU, with its gradient: torch's own takes three times as long in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.kernels.bfloat16 import array_of
from models.kernels.packed_linear import RepeatedProduct
from models.tacotron2.attention_cpu_steps import add_rows, step_lstm, step_lstm_back


class LstmScan(torch.autograd.Function):
    """(inputs [S, B, 4H] with both biases, recurrent weights [4H, H]) → hidden states [S, B, H]; inputs and states are
    of the products' number format, the weights may be wider.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        (n_steps, batch, _), n_hidden = inputs.shape, weight.size(1)
        states, cells = inputs.new_zeros(n_steps + 1, batch, n_hidden), weight.new_zeros(n_steps + 1, batch, n_hidden)
        keep, hidden, gates = torch.ones_like(cells[0]), torch.empty_like(cells[0]), weight.new_empty(inputs.shape)
        recurrent, all_states = RepeatedProduct(weight, inputs.dtype, batch), states.unbind()
        of_states, of_cells, of_gates, of_inputs = (list(array_of(each)) for each in (states, cells, gates, inputs))
        kept, said, n_threads = keep.numpy(), hidden.numpy(), torch.get_num_threads()
        for t in range(n_steps):
            product = array_of(recurrent(all_states[t]))
            before, after = (product, of_inputs[t], of_cells[t], kept), (of_cells[t + 1], said, of_states[t + 1])
            step_lstm(n_threads, *before, of_gates[t], *after)
        ctx.save_for_backward(weight, states, cells, gates)
        return states[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor, Tensor]:
        weight, states, cells, gates = ctx.saved_tensors
        d_gates, d_cell = torch.empty_like(gates, dtype=states.dtype), torch.zeros_like(cells[0])
        d_hidden, keep = torch.empty_like(d_cell), torch.ones_like(d_cell).numpy()
        recurrent, all_gates = RepeatedProduct(weight.t(), states.dtype, len(d_cell)), d_gates.unbind()
        of_states, of_gates, were_cells, were_gates = (
            list(array_of(each)) for each in (d_states.contiguous(), d_gates, cells, gates)
        )
        n_threads = torch.get_num_threads()
        of_cell, of_hidden, product = d_cell.numpy(), d_hidden.numpy(), array_of(torch.zeros_like(states[0]))
        for t in reversed(range(len(gates))):
            add_rows(of_states[t], product, of_hidden)
            around = were_cells[t], were_cells[t + 1]
            step_lstm_back(n_threads, of_hidden, of_cell, were_gates[t], *around, keep, of_gates[t])
            if t:
                product = array_of(recurrent(all_gates[t]))
        d_weight = d_gates.flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        return d_gates, d_weight.to(weight.dtype)
