"""Convolutions as matrix products equal torch's own, forward and backward."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from files import REPOSITORY
from models.kernels import conv1d
from models.kernels.conv1d import WinogradConvolution, convolve
from models.kernels.winograd_tiles import from_tiles, to_tiles
from tests.support.threads import computing_threads


def random_layer(n_in: int, n_out: int, n_taps: int, *, dilation: int = 1, bias: bool = True) -> nn.Conv1d:
    torch.manual_seed(0)
    return nn.Conv1d(n_in, n_out, n_taps, dilation=dilation, padding=dilation * (n_taps - 1) // 2, bias=bias)


def torch_convolution(x: Tensor, layer: nn.Conv1d) -> Tensor:
    result: Tensor = layer(x.transpose(1, 2)).transpose(1, 2)
    return result


@pytest.mark.parametrize("n_taps", [1, 3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_it_equals_torchs_convolution(n_taps: int, dilation: int, bias: bool) -> None:
    layer = random_layer(64, 70, n_taps, dilation=dilation, bias=bias)
    x = torch.randn(2, 50, 64, requires_grad=True)
    torch.testing.assert_close(convolve(x, layer), torch_convolution(x, layer), rtol=1e-4, atol=1e-5)
    gradients, expected = (
        torch.autograd.grad(function(x, layer).square().sum(), [x, layer.weight])
        for function in (convolve, torch_convolution)
    )
    for gradient, expected_value in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, expected_value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_taps", [3, 4, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_a_large_bfloat16_convolution_has_the_gradient_of_torchs(
    monkeypatch: pytest.MonkeyPatch, n_taps: int, bias: bool
) -> None:
    monkeypatch.setattr(conv1d, "BFLOAT16_MIN_WORK", 0)
    torch.manual_seed(0)
    layer, x = nn.Conv1d(16, 12, n_taps, bias=bias), torch.randn(4, 300, 16, requires_grad=True)
    weight = torch.randn(4, 300, 12)
    parts = [x, *layer.parameters()]
    padded = nn.functional.pad(x.transpose(1, 2), ((n_taps - 1) // 2, n_taps // 2))
    expected = layer(padded).transpose(1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = convolve(x, layer)
    for value, expected_value in zip(
        (result, *torch.autograd.grad((result * weight).sum(), parts)),
        (expected, *torch.autograd.grad((expected * weight).sum(), parts)),
        strict=True,
    ):
        assert float(((value - expected_value).norm() / expected_value.norm()).detach()) < 0.01


def test_an_even_kernel_reaches_one_frame_further_ahead_than_back() -> None:
    layer = random_layer(3, 4, 4)
    x = torch.randn(2, 9, 3)
    padded = nn.functional.pad(x.transpose(1, 2), (1, 2))
    expected = nn.functional.conv1d(padded, layer.weight, layer.bias).transpose(1, 2)
    torch.testing.assert_close(convolve(x, layer), expected)


@pytest.mark.parametrize("limit", [0, 10**6], ids=["recomputed", "saved"])
@pytest.mark.parametrize("n_taps", [3, 5])
@pytest.mark.parametrize("length", [1, 4, 6, 7, 12, 13])
def test_a_sequence_of_any_length_is_exact_but_for_rounding(
    monkeypatch: pytest.MonkeyPatch, n_taps: int, length: int, limit: int
) -> None:
    monkeypatch.setattr(conv1d, "RECOMPUTE_MIN_WEIGHTS", limit)
    x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    layer = random_layer(3, 4, n_taps).double()
    assert layer.bias is not None
    values = x, layer.weight, layer.bias
    torch.testing.assert_close(WinogradConvolution.apply(*values), torch_convolution(x, layer), rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(WinogradConvolution.apply, values)


def test_the_number_of_threads_changes_no_bit() -> None:
    x, matrix, results = torch.randn(3, 50, 64), torch.randn(8, 8), []
    for n_threads in (1, 2):
        with computing_threads(n_threads):
            tiles = to_tiles(x, matrix, step=4, before=2, n_tiles=13)
            results.append((tiles, from_tiles(tiles, matrix, step=4, before=2, length=50)))
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_several_threads_can_convolve_at_the_same_time() -> None:
    """In a process of its own, since a failure would crash it."""
    program = (
        "import threading, torch\n"
        "from models.kernels.conv1d import convolve\n"
        "layer, x = torch.nn.Conv1d(64, 64, 5), torch.randn(4, 200, 64)\n"
        "threads = [threading.Thread(target=lambda: [convolve(x, layer) for _ in range(50)]) for _ in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_weights_are_transformed_once_while_they_are_not_trained() -> None:
    layer, x = random_layer(64, 64, 5), torch.randn(1, 30, 64)
    with torch.no_grad():
        convolve(x, layer)
        first = layer.__dict__["transformed"][1]
        torch.testing.assert_close(convolve(x, layer), torch_convolution(x, layer), rtol=1e-4, atol=1e-5)
        assert layer.__dict__["transformed"][1] is first
        layer.weight.mul_(2)
        torch.testing.assert_close(convolve(x, layer), torch_convolution(x, layer), rtol=1e-4, atol=1e-5)
        assert layer.__dict__["transformed"][1] is not first
    assert "transformed" not in layer.state_dict()


@pytest.mark.parametrize(
    ("is_used", "n_channels", "dilation", "dtype"),
    [
        (True, 64, 1, torch.float32),
        (False, 63, 1, torch.float32),
        (False, 64, 2, torch.float32),
        (False, 64, 1, torch.float64),
    ],
)
def test_the_winograd_algorithm_is_used_only_where_it_helps(
    monkeypatch: pytest.MonkeyPatch, is_used: bool, n_channels: int, dilation: int, dtype: torch.dtype
) -> None:
    calls = []

    class Recording(WinogradConvolution):
        @staticmethod
        def forward(ctx: object, *tensors: Tensor) -> Tensor:  # type: ignore[override]
            calls.append(True)
            return WinogradConvolution.forward(ctx, *tensors)

    monkeypatch.setattr(conv1d, "WinogradConvolution", Recording)
    layer = random_layer(n_channels, 64, 5, dilation=dilation).to(dtype)
    convolve(torch.randn(1, 20, n_channels, dtype=dtype), layer)
    assert bool(calls) is is_used
    calls.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolve(torch.randn(1, 20, n_channels), layer.float()).dtype == torch.bfloat16
    assert not calls
