from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.layers import (
    ConvNorm,
    MaskedBatchNorm,
    dropout,
    length_mask,
    reverse_within_lengths,
    run_bidirectional_lstm,
)

LENGTHS = torch.tensor([5, 2, 7])


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(1)) * 3 + 2


def masked_and_plain_norm() -> tuple[MaskedBatchNorm, nn.BatchNorm1d]:
    """Both with the same random weights."""
    masked, plain = MaskedBatchNorm(4), nn.BatchNorm1d(4)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        masked.weight.copy_(torch.rand(4, generator=generator) + 0.5)
        masked.bias.copy_(torch.randn(4, generator=generator))
    plain.load_state_dict(masked.state_dict())
    return masked, plain


def valid_positions(x: Tensor) -> Tensor:
    """[B, T, C] → [positions, C]"""
    return x[length_mask(LENGTHS, 7)]


def test_length_mask_is_true_within_the_lengths() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_masked_batch_norm_equals_batch_norm_of_the_valid_positions_alone(x: Tensor) -> None:
    masked, plain = masked_and_plain_norm()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = valid_positions(torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(3)))
    output, expected = valid_positions(masked(a, length_mask(LENGTHS, 7))), plain(valid_positions(b))
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(masked.weight.grad, plain.weight.grad)
    torch.testing.assert_close(masked.bias.grad, plain.bias.grad)
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())


def test_masked_batch_norm_tracks_the_same_statistics_over_several_batches(x: Tensor) -> None:
    masked, plain = masked_and_plain_norm()
    for scale in (1.0, 0.5, 2.0):
        masked(x * scale, length_mask(LENGTHS, 7))
        plain(valid_positions(x * scale))
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())


def test_masked_batch_norm_in_evaluation_uses_the_running_statistics(x: Tensor) -> None:
    masked, plain = (norm.eval() for norm in masked_and_plain_norm())
    torch.testing.assert_close(valid_positions(masked(x, length_mask(LENGTHS, 7))), plain(valid_positions(x)))
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())


def test_masked_batch_norm_without_a_mask_equals_batch_norm(x: Tensor) -> None:
    masked, plain = masked_and_plain_norm()
    torch.testing.assert_close(masked(x), plain(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())


def test_masked_batch_norm_of_a_single_position_stays_finite() -> None:
    norm = MaskedBatchNorm(4)
    assert norm(torch.ones(1, 1, 4), torch.ones(1, 1, dtype=torch.bool)).isfinite().all()
    assert norm.running_var is not None and norm.running_var.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_conv_norm_ignores_the_values_in_the_padding(x: Tensor, training: bool) -> None:
    layer = ConvNorm(4, 4, kernel_size=3, gain="relu").train(training)
    mask = length_mask(LENGTHS, 7)
    garbage = torch.where(mask.unsqueeze(2), x, torch.tensor(1e3))
    with torch.no_grad():
        assert torch.equal(valid_positions(layer(x, mask)), valid_positions(layer(garbage, mask)))
        if not training:
            assert not torch.allclose(valid_positions(layer(x)), valid_positions(layer(garbage)))


def test_each_item_is_reversed_within_its_length() -> None:
    x = torch.arange(1, 9).view(2, 4, 1)
    assert reverse_within_lengths(x, torch.tensor([4, 2]))[..., 0].tolist() == [[4, 3, 2, 1], [6, 5, 7, 8]]


def test_a_bidirectional_lstm_equals_that_of_a_packed_sequence(x: Tensor) -> None:
    torch.manual_seed(4)
    lstm = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    packed = nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True)
    states = run_bidirectional_lstm(lstm, x, LENGTHS)
    torch.testing.assert_close(states, expected)
    weights, factors = list(lstm.parameters()), torch.randn_like(states)
    gradients = (torch.autograd.grad((y * factors).sum(), weights) for y in (states, expected))
    for gradient, expected_value in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected_value)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_zeroes_its_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropped = dropout(torch.ones(3, 7, 10_001, dtype=dtype), p, training=True)
    assert dropped.dtype == dtype
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(dropped.float().mean()) == pytest.approx(1.0, rel=0.03)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / (1 - p), rel=0.005)]


def test_dropout_depends_on_the_seed_alone_and_is_off_in_evaluation() -> None:
    x = torch.randn(5, 3)
    torch.manual_seed(1)
    first, second = dropout(x, 0.5, training=True), dropout(x, 0.5, training=True)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.5, training=True), first) and not torch.equal(first, second)
    assert dropout(x, 0.5, training=False) is x and dropout(x, 0.0, training=True) is x


def test_a_gradient_flows_through_elements_that_were_not_dropped() -> None:
    x = torch.randn(4, 100, requires_grad=True)
    dropped = dropout(x, 0.25, training=True)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), dropped.detach())
