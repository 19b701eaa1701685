"""The attention's hand-made gradient is the one that autograd finds, however the steps are done."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from models.layers import length_mask
from models.tacotron2 import attention as attention_scan
from models.tacotron2 import attention_cpu as attention_on_cpu
from models.tacotron2 import attention_gpu as attention_on_gpu
from models.tacotron2.attention import AttentionScan
from models.tacotron2.attention_buffers import ScanWeights
from tests.threads import computing_threads

BATCH, TOKENS, HIDDEN, WIDTH, DIM, KERNEL = 3, 6, 4, 3, 2, 5
each_way = pytest.mark.parametrize("steps", [attention_on_cpu, attention_on_gpu], ids=["numba", "torch"])


def random_inputs(seed: int, n_steps: int = 5) -> list[Any]:
    torch.manual_seed(seed)
    lengths = torch.tensor([6, 4, 1])
    keep = (torch.rand(n_steps, BATCH, HIDDEN) > 0.3).double() / 0.7
    shapes: list[tuple[int, ...]] = [(n_steps, BATCH, 4 * HIDDEN), (BATCH, TOKENS, WIDTH), (BATCH, TOKENS, DIM)]
    shapes += [(WIDTH + HIDDEN, 4 * HIDDEN), (HIDDEN, DIM), (2 * KERNEL, DIM), (DIM,)]
    inputs, memory, projected, *weights = (torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes)
    return [inputs, memory, projected, lengths, keep, *weights]


def location_windows(weights: Tensor, cumulative: Tensor) -> Tensor:
    """Around each token, the last attention and the sum of all: two [B, N] → [B, N, 2·K], zero beyond the edges."""
    padded = torch.nn.functional.pad(torch.stack([weights, cumulative], dim=1), (KERNEL // 2, KERNEL // 2))
    return padded.unfold(2, KERNEL, 1).permute(0, 2, 1, 3).flatten(2)


def by_autograd(
    inputs: Tensor,
    memory: Tensor,
    projected: Tensor,
    lengths: Tensor,
    keep: Tensor,
    *weights: Tensor,
) -> tuple[Tensor, ...]:
    """The same recurrence as a plain loop."""
    w, closed = ScanWeights(*weights), ~length_mask(lengths, TOKENS)
    hidden, cell = inputs.new_zeros(BATCH, HIDDEN), inputs.new_zeros(BATCH, HIDDEN)
    context, attention, cumulative = inputs.new_zeros(BATCH, WIDTH), *inputs.new_zeros(2, BATCH, TOKENS)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in range(len(inputs)):
        into, forget, candidate, out = (inputs[t] + torch.cat([context, hidden], 1) @ w.recurrent).chunk(4, 1)
        cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
        hidden = out.sigmoid() * cell.tanh() * keep[t]
        features = location_windows(attention, cumulative) @ w.location + projected
        energies = (features + (hidden @ w.query)[:, None]).tanh() @ w.energy
        attention = energies.masked_fill(closed, -torch.inf).softmax(1)
        cumulative = cumulative + attention
        context = (attention[:, None] @ memory)[:, 0]
        found.append((hidden, context, attention))
    return tuple(torch.stack(each) for each in zip(*found, strict=True))


def gradients(way: Callable[..., tuple[Tensor, ...]], arguments: list[Any]) -> tuple[Tensor, ...]:
    """Of random sums of what is found."""
    torch.manual_seed(2)
    total = torch.stack([(output * torch.randn(output.shape)).sum() for output in way(*arguments)]).sum()
    return torch.autograd.grad(total, [a for a in arguments if isinstance(a, Tensor) and a.requires_grad])


@each_way
def test_values_and_gradients_are_those_of_the_plain_loop(steps: ModuleType) -> None:
    with patch.object(attention_scan, "attention_on_cpu", steps):
        for n_steps in (1, 15, 16, 40):
            arguments = random_inputs(n_steps, n_steps)
            torch.testing.assert_close(AttentionScan.apply(*arguments), by_autograd(*arguments))
            torch.testing.assert_close(gradients(AttentionScan.apply, arguments), gradients(by_autograd, arguments))


def test_more_threads_find_the_same() -> None:
    arguments = random_inputs(3, 20)
    alone = gradients(AttentionScan.apply, arguments)
    with computing_threads(2):
        torch.testing.assert_close(gradients(AttentionScan.apply, arguments), alone)


@each_way
def test_in_bfloat16_they_are_near_those_of_float32(steps: ModuleType) -> None:
    inputs, memory, projected, lengths, keep, *weights = random_inputs(7, 20)
    full = [x.detach().float().requires_grad_() for x in (inputs, memory, projected, *weights)]
    half = [x.detach().bfloat16().requires_grad_() for x in full[:3]]

    def arguments(first: list[Tensor]) -> list[Any]:
        return [*first, lengths, keep.float(), *full[3:]]

    with patch.object(attention_scan, "attention_on_cpu", steps):
        found, wanted = AttentionScan.apply(*arguments(half)), AttentionScan.apply(*arguments(full[:3]))
        assert [x.dtype for x in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
        slopes = zip(*(gradients(AttentionScan.apply, arguments(first)) for first in (half, full[:3])), strict=True)
        for ours, theirs in (*zip(found, wanted, strict=True), *slopes):
            assert float(((ours - theirs).norm() / theirs.norm()).detach()) < 0.02


def test_what_another_batch_left_in_the_buffers_of_a_stretch_does_not_matter() -> None:
    attention_on_gpu._stretches.clear()
    wide, small = random_inputs(0, 40), random_inputs(1, 20)
    before = [small[0][:, :2], small[1][:2, :4], small[2][:2, :4], torch.tensor([4, 2]), small[4][:, :2], *small[5:]]
    with patch.object(attention_scan, "attention_on_cpu", attention_on_gpu):
        wanted = gradients(AttentionScan.apply, before)
        wide[1].data[:] = torch.nan
        gradients(AttentionScan.apply, wide)
        assert len(attention_on_gpu._stretches) == 1
        torch.testing.assert_close(gradients(AttentionScan.apply, before), wanted)


def test_evaluation_before_training_does_not_freeze_the_buffers() -> None:
    attention_on_gpu._stretches.clear()
    arguments = random_inputs(3)
    with patch.object(attention_scan, "attention_on_cpu", attention_on_gpu):
        with torch.inference_mode():
            AttentionScan.apply(*arguments)
        gradients(AttentionScan.apply, arguments)
