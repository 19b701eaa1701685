"""Convolutions as matrix products give what torch's own give, in both directions."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from files import REPOSITORY
from models.kernels import conv1d as time_convolution
from models.kernels.conv1d import PolynomialConvolution, convolve
from models.kernels.winograd_tiles import at_points, summed_up
from tests.threads import computing_threads


def layer_of(n_in: int, n_out: int, n_taps: int, *, dilation: int = 1, bias: bool = True) -> nn.Conv1d:
    torch.manual_seed(0)
    return nn.Conv1d(n_in, n_out, n_taps, dilation=dilation, padding=dilation * (n_taps - 1) // 2, bias=bias)


def usual(x: Tensor, layer: nn.Conv1d) -> Tensor:
    found: Tensor = layer(x.transpose(1, 2)).transpose(1, 2)
    return found


@pytest.mark.parametrize("n_taps", [1, 3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_usual_convolution(n_taps: int, dilation: int, bias: bool) -> None:
    layer = layer_of(64, 70, n_taps, dilation=dilation, bias=bias)
    x = torch.randn(2, 50, 64, requires_grad=True)
    torch.testing.assert_close(convolve(x, layer), usual(x, layer), rtol=1e-4, atol=1e-5)
    own, other = (
        torch.autograd.grad(function(x, layer).square().sum(), [x, layer.weight]) for function in (convolve, usual)
    )
    for mine, theirs in zip(own, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_taps", [3, 4, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_in_bfloat16_much_work_has_the_gradient_of_the_usual_convolution(
    monkeypatch: pytest.MonkeyPatch, n_taps: int, bias: bool
) -> None:
    monkeypatch.setattr(time_convolution, "MUCH_WORK", 0)
    torch.manual_seed(0)
    layer, x = nn.Conv1d(16, 12, n_taps, bias=bias), torch.randn(4, 300, 16, requires_grad=True)
    weight = torch.randn(4, 300, 12)
    parts = [x, *layer.parameters()]
    padded = nn.functional.pad(x.transpose(1, 2), ((n_taps - 1) // 2, n_taps // 2))
    wanted = layer(padded).transpose(1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = convolve(x, layer)
    for ours, theirs in zip(
        (found, *torch.autograd.grad((found * weight).sum(), parts)),
        (wanted, *torch.autograd.grad((wanted * weight).sum(), parts)),
        strict=True,
    ):
        assert float(((ours - theirs).norm() / theirs.norm()).detach()) < 0.01


def test_an_even_kernel_sees_one_more_of_what_comes() -> None:
    layer = layer_of(3, 4, 4)
    x = torch.randn(2, 9, 3)
    padded = nn.functional.pad(x.transpose(1, 2), (1, 2))
    expected = nn.functional.conv1d(padded, layer.weight, layer.bias).transpose(1, 2)
    torch.testing.assert_close(convolve(x, layer), expected)


@pytest.mark.parametrize("many", [0, 10**6], ids=["made again", "kept"])
@pytest.mark.parametrize("n_taps", [3, 5])
@pytest.mark.parametrize("length", [1, 4, 6, 7, 12, 13])
def test_tiles_of_every_length_are_exact_but_for_rounding(
    monkeypatch: pytest.MonkeyPatch, n_taps: int, length: int, many: int
) -> None:
    monkeypatch.setattr(time_convolution, "MANY_WEIGHTS", many)
    x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    layer = layer_of(3, 4, n_taps).double()
    assert layer.bias is not None
    values = x, layer.weight, layer.bias
    torch.testing.assert_close(PolynomialConvolution.apply(*values), usual(x, layer), rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(PolynomialConvolution.apply, values)


def test_how_many_threads_share_the_tiles_changes_no_bit() -> None:
    x, points, found = torch.randn(3, 50, 64), torch.randn(8, 8), []
    for n_threads in (1, 2):
        with computing_threads(n_threads):
            values = at_points(x, points, step=4, before=2, n_tiles=13)
            found.append((values, summed_up(values, points, step=4, before=2, length=50)))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_two_threads_may_convolve_at_once() -> None:
    """In a process of its own, since that is what it would end."""
    program = (
        "import threading, torch\n"
        "from models.kernels.conv1d import convolve\n"
        "layer, x = torch.nn.Conv1d(64, 64, 5), torch.randn(4, 200, 64)\n"
        "threads = [threading.Thread(target=lambda: [convolve(x, layer) for _ in range(50)]) for _ in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_weights_that_are_not_learnt_are_transformed_once() -> None:
    layer, x = layer_of(64, 64, 5), torch.randn(1, 30, 64)
    with torch.no_grad():
        convolve(x, layer)
        first = layer.__dict__["transformed"][1]
        torch.testing.assert_close(convolve(x, layer), usual(x, layer), rtol=1e-4, atol=1e-5)
        assert layer.__dict__["transformed"][1] is first
        layer.weight.mul_(2)
        torch.testing.assert_close(convolve(x, layer), usual(x, layer), rtol=1e-4, atol=1e-5)
        assert layer.__dict__["transformed"][1] is not first
    assert "transformed" not in layer.state_dict()


@pytest.mark.parametrize(
    ("is_taken", "n_channels", "dilation", "dtype"),
    [
        (True, 64, 1, torch.float32),
        (False, 63, 1, torch.float32),
        (False, 64, 2, torch.float32),
        (False, 64, 1, torch.float64),
    ],
)
def test_where_it_would_not_help_torch_convolves(
    monkeypatch: pytest.MonkeyPatch, is_taken: bool, n_channels: int, dilation: int, dtype: torch.dtype
) -> None:
    taken = []

    class Watched(PolynomialConvolution):
        @staticmethod
        def forward(ctx: object, *tensors: Tensor) -> Tensor:  # type: ignore[override]
            taken.append(True)
            return PolynomialConvolution.forward(ctx, *tensors)

    monkeypatch.setattr(time_convolution, "PolynomialConvolution", Watched)
    layer = layer_of(n_channels, 64, 5, dilation=dilation).to(dtype)
    convolve(torch.randn(1, 20, n_channels, dtype=dtype), layer)
    assert bool(taken) is is_taken
    taken.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolve(torch.randn(1, 20, n_channels), layer.float()).dtype == torch.bfloat16
    assert not taken
