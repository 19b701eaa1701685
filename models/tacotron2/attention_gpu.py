"""Attention scan in torch operations; on a GPU a chunk of steps is one CUDA graph, replayed for the whole sequence.

A step consists of some twenty tiny kernels; launched one by one from Python, the GPU would wait most of the time. A
graph needs fixed addresses and sizes, so each chunk has buffers of its own. Their sizes are rounded up, so that few
chunks serve all batches.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from models.kernels.choice import may_compile
from models.kernels.cuda_graph import captured_graph
from models.tacotron2.attention_buffers import AttentionBuffers, ScanGradients, ScanInputs, ScanWeights

STEPS, BATCH_MULTIPLE, TOKENS_MULTIPLE = 16, 8, 32
"""Steps of a chunk; batch and tokens are rounded up to multiples."""
MAX_CACHED_CHUNKS = 4
"""The buffers of a chunk take tens of megabytes."""


@dataclass(frozen=True)
class ChunkSizes:
    """Sizes and formats for which a chunk is built."""

    batch: int
    n_tokens: int
    n_hidden: int
    memory_width: int
    attention_dim: int
    kernel_size: int
    dtype: torch.dtype
    product_dtype: torch.dtype
    device: torch.device

    @classmethod
    def rounded_up(cls, inputs: ScanInputs) -> ChunkSizes:
        batch, n_tokens, memory_width = inputs.memory.shape
        n_hidden, attention_dim = inputs.weights.query.shape
        return cls(
            batch=-(-batch // BATCH_MULTIPLE) * BATCH_MULTIPLE,
            n_tokens=-(-n_tokens // TOKENS_MULTIPLE) * TOKENS_MULTIPLE,
            n_hidden=n_hidden,
            memory_width=memory_width,
            attention_dim=attention_dim,
            kernel_size=inputs.weights.location.size(0) // 2,
            dtype=inputs.keep.dtype,
            product_dtype=inputs.dtype,
            device=inputs.memory.device,
        )


class StepChunk:
    """Buffers for a few steps, and the captured graphs of their forward and backward pass."""

    def __init__(self, sizes: ChunkSizes) -> None:
        self.sizes = s = sizes
        zeros = torch.zeros((), dtype=s.dtype, device=s.device).new_zeros
        state_width = s.memory_width + s.n_hidden
        self.memory = zeros(s.batch, s.n_tokens, s.memory_width)
        self.processed_memory = zeros(s.batch, s.n_tokens, s.attention_dim)
        self.is_padding = torch.zeros(s.batch, s.n_tokens, dtype=torch.bool, device=s.device)
        self.weights = ScanWeights(
            recurrent=zeros(state_width, 4 * s.n_hidden).to(s.product_dtype),
            query=zeros(s.n_hidden, s.attention_dim),
            location=zeros(2 * s.kernel_size, s.attention_dim),
            energy=zeros(s.attention_dim),
        )
        self.gate_inputs, self.keep = zeros(STEPS, s.batch, 4 * s.n_hidden), zeros(STEPS, s.batch, s.n_hidden)
        self.buffers = AttentionBuffers.allocate(
            self.keep, self.processed_memory, memory_width=s.memory_width, kernel_size=s.kernel_size
        )
        self.windows = zeros(s.batch, s.n_tokens, 2, s.kernel_size)
        self.d = ScanGradients(
            states=zeros(STEPS, s.batch, state_width),
            gates=zeros(STEPS, s.batch, 4 * s.n_hidden),
            queries=zeros(STEPS, s.batch, s.attention_dim),
            processed_memory=torch.zeros_like(self.processed_memory),
            location=torch.zeros_like(self.weights.location),
            energy=zeros(s.attention_dim),
        )
        self.d_attention, self.d_energies = zeros(2, STEPS, s.batch, s.n_tokens).unbind()
        self.d_features, self.d_cell = torch.zeros_like(self.buffers.features), torch.zeros_like(self.buffers.cells[0])
        self.d_history, self.d_state = zeros(2, s.batch, s.n_tokens), zeros(s.batch, state_width)
        self.forward = captured_graph(self._forward, s.device)
        self.backward = captured_graph(self._backward, s.device)

    def _forward(self) -> None:
        """All steps, from the first entry of the buffers on."""
        w, buffers, width = self.weights, self.buffers, self.sizes.memory_width
        last, cumulative = _without_padding(buffers.history, self.sizes).unbind(2)
        windows = buffers.history.unfold(3, self.sizes.kernel_size, 1).transpose(2, 3)
        for t in range(STEPS):
            product = buffers.states[t].to(w.recurrent.dtype) @ w.recurrent
            hidden = buffers.states[t + 1, :, width:]
            _lstm_step(buffers, t, self.gate_inputs[t], product.to(self.sizes.dtype), hidden)
            hidden.mul_(self.keep[t])
            self.windows.copy_(windows[t])
            feature = torch.matmul(self.windows.flatten(2), w.location, out=buffers.features[t])
            feature.add_(self.processed_memory).add_((hidden @ w.query).unsqueeze(1)).tanh_()
            energies = (feature @ w.energy).masked_fill_(self.is_padding, -torch.inf)
            torch.softmax(energies, dim=1, out=last[t + 1])
            torch.add(cumulative[t], last[t + 1], out=cumulative[t + 1])
            buffers.states[t + 1, :, :width] = torch.bmm(last[t + 1].unsqueeze(1), self.memory).squeeze(1)

    def _backward(self) -> None:
        """All steps in reverse; d_cell, d_history and d_state hold the gradient from the chunk after this one."""
        w, d, buffers, s = self.weights, self.d, self.buffers, self.sizes
        last, d_cumulative = _without_padding(buffers.history[1:, :, 0], s), self.d_history[1]
        d.states[-1].add_(self.d_state)
        for t in reversed(range(STEPS)):
            d_weights = torch.bmm(self.memory, d.states[t, :, : s.memory_width].unsqueeze(2)).squeeze(2)
            d_weights.add_(self.d_attention[t]).add_(self.d_history[0]).add_(d_cumulative)
            torch.ops.aten._softmax_backward_data.out(d_weights, last[t], 1, s.dtype, grad_input=self.d_energies[t])
            d_feature = torch.ops.aten.tanh_backward.grad_input(
                self.d_energies[t].unsqueeze(2) * w.energy, buffers.features[t], grad_input=self.d_features[t]
            )
            torch.sum(d_feature, 1, out=d.queries[t])
            d_windows = (d_feature @ w.location.t()).view_as(self.windows).permute(0, 2, 1, 3)
            d_before = _without_padding(_sum_of_windows(d_windows), s)
            self.d_history[0].copy_(d_before[:, 0])
            d_cumulative.add_(d_before[:, 1])
            d_hidden = torch.addmm(d.states[t, :, s.memory_width :], d.queries[t], w.query.t()).mul_(self.keep[t])
            _lstm_step_back(buffers, t, d_hidden, self.d_cell, d.gates[t])
            d_state = (d.gates[t].to(w.recurrent.dtype) @ w.recurrent.t()).to(s.dtype)
            (d.states[t - 1].add_ if t else self.d_state.copy_)(d_state)
        windows = buffers.history[:-1].unfold(3, s.kernel_size, 1).transpose(2, 3)
        flat_d_features = self.d_features.view(-1, s.attention_dim)
        d.location.addmm_(windows.reshape(flat_d_features.size(0), -1).t(), flat_d_features)
        d.processed_memory.add_(self.d_features.sum(0))
        d.energy.addmv_(buffers.features.view(-1, s.attention_dim).t(), self.d_energies.view(-1))

    def clear(self) -> None:
        """Zero what another batch has left, so that rows, tokens and steps added by rounding have no gradient."""
        carried = self.d_attention, self.d_cell, self.d_history, self.d_state, self.keep
        for buffer in (*self.buffers, *self.d, *carried):
            buffer.zero_()

    def load(self, inputs: ScanInputs) -> None:
        """Copy in the tensors that are the same for all steps."""
        batch, n_tokens = inputs.memory.shape[:2]
        self.memory.zero_()[:batch, :n_tokens] = inputs.memory
        self.processed_memory.zero_()[:batch, :n_tokens] = inputs.processed_memory
        lengths = torch.ones(self.sizes.batch, dtype=torch.long, device=self.is_padding.device)
        lengths[:batch] = inputs.lengths
        index = torch.arange(self.sizes.n_tokens, device=self.is_padding.device)
        self.is_padding.copy_(index >= lengths.unsqueeze(1))
        for own, weight in zip(self.weights, inputs.weights, strict=True):
            own.copy_(weight)


def _without_padding(history: Tensor, s: ChunkSizes) -> Tensor:
    """[…, N + K - 1] → […, N], without the zeros on both sides."""
    return history[..., s.kernel_size // 2 :][..., : s.n_tokens]


def _sum_of_windows(d_windows: Tensor) -> Tensor:
    """The transpose of cutting windows: [B, 2, N, K] → [B, 2, N + K - 1]."""
    n_items, n_kinds, n_tokens, kernel_size = d_windows.shape
    size = (n_items, n_kinds, n_tokens + kernel_size - 1)
    return torch.ops.aten.unfold_backward(d_windows, size, 2, kernel_size, 1)


def _lstm_step(buffers: AttentionBuffers, t: int, gate_inputs: Tensor, product: Tensor, hidden: Tensor) -> None:
    """Set the gates, the new cell and the hidden state of step t."""
    if gate_inputs.device.type == "cuda":
        new_hidden, cell, gates = torch.ops.aten._thnn_fused_lstm_cell(gate_inputs, product, buffers.cells[t])
        buffers.gates[t].copy_(gates.view_as(gate_inputs))
        buffers.cells[t + 1].copy_(cell)
        hidden.copy_(new_hidden)
        return
    gates = torch.add(gate_inputs, product, out=buffers.gates[t])
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
    input_gate.sigmoid_(), forget_gate.sigmoid_(), candidate.tanh_(), output_gate.sigmoid_()
    torch.addcmul(forget_gate * buffers.cells[t], input_gate, candidate, out=buffers.cells[t + 1])
    hidden.copy_(torch.tanh(buffers.cells[t + 1]).mul_(output_gate))


def _lstm_step_back(buffers: AttentionBuffers, t: int, d_hidden: Tensor, d_cell: Tensor, d_gates: Tensor) -> None:
    """Set the gates' gradient before activation; d_cell turns from the new cell's to the old one's."""
    old_cell, new_cell, gates = buffers.cells[t], buffers.cells[t + 1], buffers.gates[t]
    if gates.device.type == "cuda":
        fused = torch.ops.aten._thnn_fused_lstm_cell_backward_impl
        new_d_gates, new_d_cell, *_ = fused(d_hidden, d_cell, old_cell, new_cell, gates, False)
        d_gates.copy_(new_d_gates)
        d_cell.copy_(new_d_cell)
        return
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
    squashed = torch.tanh(new_cell)
    d_new = d_cell + d_hidden * output_gate * (1 - squashed * squashed)
    slopes = (
        candidate * (input_gate - input_gate * input_gate),
        old_cell * (forget_gate - forget_gate * forget_gate),
        input_gate * (1 - candidate * candidate),
    )
    parts = [*(d_new * slope for slope in slopes), d_hidden * squashed * (output_gate - output_gate * output_gate)]
    torch.cat(parts, dim=1, out=d_gates)
    torch.mul(d_new, forget_gate, out=d_cell)


_chunks: OrderedDict[tuple[ChunkSizes, bool], StepChunk] = OrderedDict()  # by sizes, and whether they may be captured


def free_chunks() -> None:
    """Free the memory of all cached chunks; the next pass builds its chunk again."""
    _chunks.clear()


def _chunk_for(inputs: ScanInputs) -> StepChunk:
    sizes = ChunkSizes.rounded_up(inputs)
    key = sizes, may_compile()
    if key not in _chunks:
        while len(_chunks) >= MAX_CACHED_CHUNKS:
            _chunks.popitem(last=False)
        with torch.inference_mode(False), torch.no_grad():
            _chunks[key] = StepChunk(sizes)
    _chunks.move_to_end(key)
    _chunks[key].load(inputs)
    return _chunks[key]


def _split_steps(n_steps: int) -> list[tuple[slice, int]]:
    """Range of steps and number of steps of each chunk."""
    return [(slice(t, min(t + STEPS, n_steps)), min(STEPS, n_steps - t)) for t in range(0, n_steps, STEPS)]


@torch.no_grad()
def scan(buffers: AttentionBuffers, inputs: ScanInputs, gate_inputs: Tensor) -> None:
    """Fill the buffers, given the prenet's share of the gates [S, B, 4H]."""
    chunk = _chunk_for(inputs)
    batch, n_tokens = inputs.memory.shape[:2]
    history_width = n_tokens + chunk.sizes.kernel_size - 1
    own = chunk.buffers
    carried = own.states, own.cells, own.history
    for buffer in carried:
        buffer[0].zero_()
    for steps, n in _split_steps(len(gate_inputs)):
        chunk.gate_inputs[:n, :batch] = gate_inputs[steps]
        chunk.keep[:n, :batch] = inputs.keep[steps]
        chunk.forward()
        after = slice(steps.start + 1, steps.stop + 1)
        buffers.states[after], buffers.cells[after] = own.states[1 : n + 1, :batch], own.cells[1 : n + 1, :batch]
        buffers.history[after] = own.history[1 : n + 1, :batch, :, :history_width]
        buffers.gates[steps], buffers.features[steps] = own.gates[:n, :batch], own.features[:n, :batch, :n_tokens]
        for buffer in carried:
            buffer[0].copy_(buffer[STEPS])


@torch.no_grad()
def scan_back(buffers: AttentionBuffers, inputs: ScanInputs, d_states: Tensor, d_attention: Tensor) -> ScanGradients:
    """Compute gradients from those of states [S, B, E + H] and attention [S, B, N]; overwrites d_states."""
    chunk = _chunk_for(inputs)
    own, d = chunk.buffers, chunk.d
    batch, n_tokens = inputs.memory.shape[:2]
    history_width = n_tokens + chunk.sizes.kernel_size - 1
    chunk.clear()
    d_gates = torch.empty_like(buffers.gates, dtype=inputs.dtype)
    d_queries = buffers.gates.new_empty(*buffers.gates.shape[:2], chunk.sizes.attention_dim)
    for steps, n in reversed(_split_steps(len(buffers.gates))):
        chunk.keep[:n, :batch] = inputs.keep[steps]
        own.cells[: n + 1, :batch] = buffers.cells[steps.start : steps.stop + 1]
        own.history[: n + 1, :batch, :, :history_width] = buffers.history[steps.start : steps.stop + 1]
        own.gates[:n, :batch], own.features[:n, :batch, :n_tokens] = buffers.gates[steps], buffers.features[steps]
        d.states[:n, :batch], chunk.d_attention[:n, :batch, :n_tokens] = d_states[steps], d_attention[steps]
        chunk.backward()
        for all_steps, part in ((d_states, d.states), (d_gates, d.gates), (d_queries, d.queries)):
            all_steps[steps] = part[:n, :batch]
    return ScanGradients(
        states=d_states,
        gates=d_gates,
        queries=d_queries,
        processed_memory=d.processed_memory[:batch, :n_tokens].clone(),
        location=d.location.clone(),
        energy=d.energy.clone(),
    )
