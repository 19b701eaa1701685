"""The attention's hand-made gradient is the one that autograd finds, and its steps are those of free running."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.attention_scan import AttentionScan, ScanWeights, location_windows
from models.layers import length_mask
from models.tacotron2 import AttentionLoop, Tacotron2
from tests.tiny import SYMBOLS, tiny_hparams

STEPS, BATCH, TOKENS, HIDDEN, WIDTH, DIM, KERNEL = 5, 3, 6, 4, 3, 2, 5


def random_inputs(seed: int) -> list[Any]:
    torch.manual_seed(seed)
    lengths = torch.tensor([6, 4, 1])
    keep = (torch.rand(STEPS, BATCH, HIDDEN) > 0.3).double() / 0.7
    shapes: list[tuple[int, ...]] = [(STEPS, BATCH, 4 * HIDDEN), (BATCH, TOKENS, WIDTH), (BATCH, TOKENS, DIM)]
    shapes += [(WIDTH + HIDDEN, 4 * HIDDEN), (HIDDEN, DIM), (2 * KERNEL, DIM), (DIM,)]
    inputs, memory, projected, *weights = (torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes)
    return [inputs, memory, projected, lengths, keep, torch.float64, *weights]


def by_autograd(
    inputs: Tensor,
    memory: Tensor,
    projected: Tensor,
    lengths: Tensor,
    keep: Tensor,
    dtype: torch.dtype,
    *weights: Tensor,
) -> tuple[Tensor, ...]:
    """The same recurrence as a plain loop."""
    w, closed = ScanWeights(*weights), ~length_mask(lengths, TOKENS)
    hidden, cell = inputs.new_zeros(BATCH, HIDDEN), inputs.new_zeros(BATCH, HIDDEN)
    context, attention, cumulative = inputs.new_zeros(BATCH, WIDTH), *inputs.new_zeros(2, BATCH, TOKENS)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in range(STEPS):
        into, forget, candidate, out = (inputs[t] + torch.cat([context, hidden], 1) @ w.recurrent).chunk(4, 1)
        cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
        hidden = out.sigmoid() * cell.tanh() * keep[t]
        features = location_windows(attention, cumulative, KERNEL) @ w.location + projected
        energies = (features + (hidden @ w.query)[:, None]).tanh() @ w.energy
        attention = energies.masked_fill(closed, -torch.inf).softmax(1)
        cumulative = cumulative + attention
        context = (attention[:, None] @ memory)[:, 0]
        found.append((hidden, context, attention))
    return tuple(torch.stack(each) for each in zip(*found, strict=True))


def test_values_are_those_of_the_plain_loop() -> None:
    arguments = random_inputs(0)
    for scanned, looped in zip(AttentionScan.apply(*arguments), by_autograd(*arguments), strict=True):
        torch.testing.assert_close(scanned, looped)


def test_gradients_are_those_of_the_plain_loop() -> None:
    arguments = random_inputs(1)
    wanted_of = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    found = {}
    for name, way in (("scan", AttentionScan.apply), ("loop", by_autograd)):
        torch.manual_seed(2)
        total = torch.stack([(output * torch.randn_like(output)).sum() for output in way(*arguments)]).sum()
        found[name] = torch.autograd.grad(total, wanted_of)
    for scanned, looped in zip(found["scan"], found["loop"], strict=True):
        torch.testing.assert_close(scanned, looped)


def test_teacher_forcing_takes_the_steps_of_free_running() -> None:
    model = Tacotron2(tiny_hparams(), len(SYMBOLS)).eval()
    torch.manual_seed(3)
    memory, mask = torch.randn(2, 7, 8), length_mask(torch.tensor([7, 4]), 7)
    prenet = torch.randn(2, 5, 8)
    loop = AttentionLoop(model.decoder, memory, mask)
    hidden, context, alignments = loop.scan(prenet)
    state = loop.start()
    for t in range(5):
        state = loop.step(loop.project_inputs(prenet[:, t]), state)
        torch.testing.assert_close(state.hidden, hidden[:, t])
        torch.testing.assert_close(state.context, context[:, t])
        torch.testing.assert_close(state.weights, alignments[:, t])
