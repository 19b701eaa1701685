from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.kernels.lstm import LstmScan
from models.layers import run_lstm
from tests.support.threads import computing_threads


def output_and_gradients(n_hidden: int, *, half: bool) -> list[Tensor]:
    """Hidden states of an LSTM, and the gradients of its input and weights."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, 24, requires_grad=True)
    shapes = [(4 * n_hidden, 24), (4 * n_hidden, n_hidden), (4 * n_hidden,), (4 * n_hidden,)]
    weights = [(torch.randn(shape) / n_hidden**0.5).requires_grad_() for shape in shapes]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        states = run_lstm(x, weights)
    weight = torch.randn(states.shape)
    return [states.detach(), *torch.autograd.grad((states * weight).sum(), [x, *weights])]


@pytest.mark.parametrize("n_hidden", [16, 1024])  # torch.lstm is wrong at the width of the published decoder
def test_bfloat16_outputs_and_gradients_are_close_to_float32(n_hidden: int) -> None:
    short, wide = (output_and_gradients(n_hidden, half=half) for half in (True, False))
    for half, full in zip(short, wide, strict=True):
        assert float((half - full).norm() / full.norm()) < 0.02


def test_two_threads_compute_the_same_as_one() -> None:
    expected = output_and_gradients(64, half=True)
    with computing_threads(2):
        torch.testing.assert_close(output_and_gradients(64, half=True), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_and_gradients_equal_torchs_own(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    inputs, weight = torch.randn(9, 2, 32, dtype=dtype), 0.3 * torch.randn(32, 8, dtype=dtype)
    inputs.requires_grad_(), weight.requires_grad_()
    identity, no_bias = torch.eye(32, dtype=dtype), torch.zeros(32, dtype=dtype)
    expected = run_lstm(inputs.transpose(0, 1), [identity, weight, no_bias, no_bias]).transpose(0, 1)
    states = LstmScan.apply(inputs, weight)
    torch.testing.assert_close(states, expected)
    factors = torch.randn_like(expected)
    gradients = (torch.autograd.grad((y * factors).sum(), [inputs, weight]) for y in (states, expected))
    for gradient, expected_value in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected_value)
