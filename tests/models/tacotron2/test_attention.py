"""The hand-written gradient of the attention scan equals that of autograd, in numba and in torch operations."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from models.layers import length_mask
from models.tacotron2 import attention, attention_cpu, attention_gpu
from models.tacotron2.attention import AttentionScan
from models.tacotron2.attention_buffers import ScanWeights
from tests.support.threads import computing_threads

BATCH, TOKENS, HIDDEN, WIDTH, DIM, KERNEL = 3, 6, 4, 3, 2, 5
both_versions = pytest.mark.parametrize("version", [attention_cpu, attention_gpu], ids=["numba", "torch"])


def random_inputs(seed: int, n_steps: int = 5) -> list[Any]:
    torch.manual_seed(seed)
    lengths = torch.tensor([6, 4, 1])
    keep = (torch.rand(n_steps, BATCH, HIDDEN) > 0.3).double() / 0.7
    shapes: list[tuple[int, ...]] = [(n_steps, BATCH, 4 * HIDDEN), (BATCH, TOKENS, WIDTH), (BATCH, TOKENS, DIM)]
    shapes += [(WIDTH + HIDDEN, 4 * HIDDEN), (HIDDEN, DIM), (2 * KERNEL, DIM), (DIM,)]
    tensors = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    gate_inputs, memory, processed_memory, *weights = tensors
    return [gate_inputs, memory, processed_memory, lengths, keep, *weights]


def location_windows(weights: Tensor, cumulative: Tensor) -> Tensor:
    """Last and cumulative attention [B, N] around each token → [B, N, 2·K], zero beyond the edges."""
    padded = torch.nn.functional.pad(torch.stack([weights, cumulative], dim=1), (KERNEL // 2, KERNEL // 2))
    return padded.unfold(2, KERNEL, 1).permute(0, 2, 1, 3).flatten(2)


def scan_by_autograd(
    gate_inputs: Tensor, memory: Tensor, processed_memory: Tensor, lengths: Tensor, keep: Tensor, *weights: Tensor
) -> tuple[Tensor, ...]:
    """The same recurrence as a plain loop."""
    w, is_padding = ScanWeights(*weights), ~length_mask(lengths, TOKENS)
    hidden, cell = gate_inputs.new_zeros(BATCH, HIDDEN), gate_inputs.new_zeros(BATCH, HIDDEN)
    context, weights_now, cumulative = gate_inputs.new_zeros(BATCH, WIDTH), *gate_inputs.new_zeros(2, BATCH, TOKENS)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in range(len(gate_inputs)):
        gates = gate_inputs[t] + torch.cat([context, hidden], 1) @ w.recurrent
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
        cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
        hidden = output_gate.sigmoid() * cell.tanh() * keep[t]
        features = location_windows(weights_now, cumulative) @ w.location + processed_memory
        energies = (features + (hidden @ w.query)[:, None]).tanh() @ w.energy
        weights_now = energies.masked_fill(is_padding, -torch.inf).softmax(1)
        cumulative = cumulative + weights_now
        context = (weights_now[:, None] @ memory)[:, 0]
        steps.append((hidden, context, weights_now))
    return tuple(torch.stack(each) for each in zip(*steps, strict=True))


def gradients(scan: Callable[..., tuple[Tensor, ...]], arguments: list[Any]) -> tuple[Tensor, ...]:
    """Gradients of a random weighted sum of all outputs."""
    torch.manual_seed(2)
    total = torch.stack([(output * torch.randn(output.shape)).sum() for output in scan(*arguments)]).sum()
    return torch.autograd.grad(total, [a for a in arguments if isinstance(a, Tensor) and a.requires_grad])


@both_versions
def test_outputs_and_gradients_equal_those_of_a_plain_loop(version: ModuleType) -> None:
    with patch.object(attention, "attention_cpu", version):
        for n_steps in (1, 15, 16, 40):
            arguments = random_inputs(n_steps, n_steps)
            torch.testing.assert_close(AttentionScan.apply(*arguments), scan_by_autograd(*arguments))
            torch.testing.assert_close(
                gradients(AttentionScan.apply, arguments), gradients(scan_by_autograd, arguments)
            )


def test_two_threads_compute_the_same_as_one() -> None:
    arguments = random_inputs(3, 20)
    expected = gradients(AttentionScan.apply, arguments)
    with computing_threads(2):
        torch.testing.assert_close(gradients(AttentionScan.apply, arguments), expected)


@both_versions
def test_bfloat16_outputs_and_gradients_are_close_to_float32(version: ModuleType) -> None:
    gate_inputs, memory, processed_memory, lengths, keep, *weights = random_inputs(7, 20)
    full = [x.detach().float().requires_grad_() for x in (gate_inputs, memory, processed_memory, *weights)]
    half = [x.detach().bfloat16().requires_grad_() for x in full[:3]]

    def arguments(inputs: list[Tensor]) -> list[Any]:
        return [*inputs, lengths, keep.float(), *full[3:]]

    with patch.object(attention, "attention_cpu", version):
        outputs, expected = AttentionScan.apply(*arguments(half)), AttentionScan.apply(*arguments(full[:3]))
        assert [x.dtype for x in outputs] == [torch.bfloat16, torch.bfloat16, torch.float32]
        slopes = zip(*(gradients(AttentionScan.apply, arguments(inputs)) for inputs in (half, full[:3])), strict=True)
        for value, expected_value in (*zip(outputs, expected, strict=True), *slopes):
            assert float(((value - expected_value).norm() / expected_value.norm()).detach()) < 0.02


def test_values_of_an_earlier_batch_in_the_buffers_of_a_chunk_have_no_effect() -> None:
    attention_gpu.free_chunks()
    wide, small = random_inputs(0, 40), random_inputs(1, 20)
    cut = [small[0][:, :2], small[1][:2, :4], small[2][:2, :4], torch.tensor([4, 2]), small[4][:, :2], *small[5:]]
    with patch.object(attention, "attention_cpu", attention_gpu):
        expected = gradients(AttentionScan.apply, cut)
        wide[1].data[:] = torch.nan
        gradients(AttentionScan.apply, wide)
        assert len(attention_gpu._chunks) == 1
        torch.testing.assert_close(gradients(AttentionScan.apply, cut), expected)


def test_buffers_allocated_in_inference_mode_can_be_trained_with() -> None:
    attention_gpu.free_chunks()
    arguments = random_inputs(3)
    with patch.object(attention, "attention_cpu", attention_gpu):
        with torch.inference_mode():
            AttentionScan.apply(*arguments)
        gradients(AttentionScan.apply, arguments)
