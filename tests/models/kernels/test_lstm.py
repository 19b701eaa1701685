from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.kernels.lstm import LstmScan
from models.layers import run_lstm
from tests.threads import computing_threads


def gradients(n_hidden: int, *, half: bool) -> list[Tensor]:
    """What an LSTM says, and the gradients of what it hears and of its weights."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, 24, requires_grad=True)
    shapes = [(4 * n_hidden, 24), (4 * n_hidden, n_hidden), (4 * n_hidden,), (4 * n_hidden,)]
    weights = [(torch.randn(shape) / n_hidden**0.5).requires_grad_() for shape in shapes]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = run_lstm(x, weights)
    weight = torch.randn(found.shape)
    return [found.detach(), *torch.autograd.grad((found * weight).sum(), [x, *weights])]


@pytest.mark.parametrize("n_hidden", [16, 1024])  # torch's own is wrong where it is as wide as the published decoder
def test_in_bfloat16_outputs_and_gradients_are_near_those_of_float32(n_hidden: int) -> None:
    for half, full in zip(gradients(n_hidden, half=True), gradients(n_hidden, half=False), strict=True):
        assert float((half - full).norm() / full.norm()) < 0.02


def test_more_threads_find_the_same() -> None:
    alone = gradients(64, half=True)
    with computing_threads(2):
        torch.testing.assert_close(gradients(64, half=True), alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_its_gradient_is_that_of_torchs_own(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    inputs, weight = torch.randn(9, 2, 32, dtype=dtype), 0.3 * torch.randn(32, 8, dtype=dtype)
    inputs.requires_grad_(), weight.requires_grad_()
    identity, nothing = torch.eye(32, dtype=dtype), torch.zeros(32, dtype=dtype)
    wanted = run_lstm(inputs.transpose(0, 1), [identity, weight, nothing, nothing]).transpose(0, 1)
    found = LstmScan.apply(inputs, weight)
    torch.testing.assert_close(found, wanted)
    of = torch.randn_like(wanted)
    for ours, theirs in zip(
        *(torch.autograd.grad((y * of).sum(), [inputs, weight]) for y in (found, wanted)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
