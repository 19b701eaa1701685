"""Initialisation of a flow, and inverses that follow the weights."""

from __future__ import annotations

import pytest
import torch

from hparams import HParams
from models.glow_tts.flows import ActNorm, FlowDecoder, InvertibleConvolution

SMALL = {"n_mel_channels": 8, "num_flow_blocks_dec": 2, "num_block_layers": 2, "hidden_channels_dec": 12}


def masked_batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    mask = torch.ones(2, 1, 20)
    mask[1, :, 12:] = 0
    return (torch.randn(2, 8, 20) * 3 - 5) * mask, mask


def test_a_norm_is_initialised_by_its_first_batch_only() -> None:
    x, mask = masked_batch()
    norm = ActNorm(8)
    z, _ = norm(x, mask)
    valid = torch.cat([z[0], z[1, :, :12]], dim=1)
    torch.testing.assert_close(valid.mean(1), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(valid.var(1, unbiased=False), torch.ones(8), atol=1e-4, rtol=0)
    before = norm.logs.clone()
    norm(2 * x, mask)
    assert torch.equal(norm.logs, before)


def test_a_norm_with_loaded_weights_is_not_initialised() -> None:
    x, mask = masked_batch()
    trained, loaded = ActNorm(8), ActNorm(8)
    trained(x, mask)
    loaded.load_state_dict(trained.state_dict())
    loaded(2 * x, mask)
    assert torch.equal(loaded.logs, trained.logs) and torch.equal(loaded.bias, trained.bias)


def test_a_norm_with_loaded_untrained_weights_is_initialised_again() -> None:
    x, mask = masked_batch()
    norm = ActNorm(8)
    norm(x, mask)
    norm.load_state_dict(ActNorm(8).state_dict())
    norm(x, mask)
    assert norm.logs.any()


def test_a_norm_is_initialised_in_training_only() -> None:
    x, mask = masked_batch()
    norm = ActNorm(8).eval()
    norm(x, mask)
    assert not norm.logs.any()
    norm.train()(x, mask)
    assert norm.logs.any()


def test_after_a_broken_batch_the_next_one_initialises_a_norm() -> None:
    x, mask = masked_batch()
    norm = ActNorm(8)
    norm(x * torch.nan, mask)
    assert not norm.logs.any() and not norm.bias.any()
    norm(x, mask)
    assert norm.logs.any() and torch.isfinite(norm.logs).all()


def test_the_cached_inverse_follows_the_weight() -> None:
    x, mask = masked_batch()
    convolution = InvertibleConvolution(8, 4)
    z, _ = convolution(x, mask)
    torch.testing.assert_close(convolution.inverse(z, mask), x, atol=1e-4, rtol=0)
    cached = convolution._inverse_weight()
    assert convolution._inverse_weight() is cached
    with torch.no_grad():
        convolution.weight.mul_(1.5)
    z, _ = convolution(x, mask)
    torch.testing.assert_close(convolution.inverse(z, mask), x, atol=1e-4, rtol=0)


def test_the_inverse_of_a_singular_weight_is_nan() -> None:
    convolution = InvertibleConvolution(8, 4)
    with torch.no_grad():
        convolution.weight.zero_()
        assert torch.isnan(convolution.inverse(torch.ones(1, 8, 3), torch.ones(1, 1, 3))).all()


def test_the_log_determinant_of_a_new_convolution_is_zero() -> None:
    x, mask = masked_batch()
    logdet = InvertibleConvolution(8, 4)(x, mask)[1]
    torch.testing.assert_close(logdet, torch.zeros(2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "changes", [{}, {"num_splits": 2, "num_squeeze": 1}, {"sigmoid_scale": True}, {"dilation_rate": 2}]
)
def test_the_log_determinant_is_that_of_the_jacobian(changes: dict[str, object]) -> None:
    torch.manual_seed(1)
    decoder = FlowDecoder(HParams(**{**SMALL, "n_mel_channels": 4, **changes}), 0).double().eval()
    for parameter in decoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    mels, mask = torch.randn(1, 4, 6, dtype=torch.float64), torch.ones(1, 1, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: decoder(x, mask, None)[0].flatten(), mels)
    expected = torch.linalg.slogdet(jacobian.view(24, 24))[1]
    torch.testing.assert_close(decoder(mels, mask, None)[1].squeeze(), expected, atol=1e-5, rtol=1e-5)
