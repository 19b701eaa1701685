from __future__ import annotations

import contextlib

import numba
import numpy as np
import torch

from models.kernels.bfloat16 import numpy_view, store, supports_bfloat16_matmul, to_float


@numba.njit
def copy(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(len(x)):
        store(y, i, to_float(x[i]))


def test_bfloat16_is_rounded_as_torch_rounds_it() -> None:
    bits = torch.randint(-(2**31), 2**31 - 1, (100_000,), generator=torch.Generator().manual_seed(0))
    halfway = (torch.arange(256) << 16 | 0x3F808000).int()  # between two values, of which the even one is right
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1e-40, 3.3e38, 3.4e38])
    x = torch.cat([bits.int().view(torch.float32), halfway.view(torch.float32), special])
    x = x[~x.isnan() | (x.view(torch.int32) == special[:1].view(torch.int32))]  # arithmetic produces no other NaN
    rounded = torch.empty_like(x, dtype=torch.bfloat16)
    copy(numpy_view(x), numpy_view(rounded))
    torch.testing.assert_close(rounded, x.bfloat16(), rtol=0, atol=0, equal_nan=True)
    widened = torch.empty_like(x)
    copy(numpy_view(rounded), numpy_view(widened))
    torch.testing.assert_close(widened, rounded.float(), rtol=0, atol=0, equal_nan=True)


def test_wider_formats_are_copied_unchanged() -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(10, dtype=dtype)
        copied = torch.empty_like(x)
        copy(numpy_view(x), numpy_view(copied))
        assert torch.equal(copied, x)


def test_bfloat16_support_is_reported_as_onednn_accepts_a_weight() -> None:
    is_accepted = False
    with contextlib.suppress(RuntimeError):
        torch.ops.mkldnn._reorder_linear_weight(torch.ones(16, 16, dtype=torch.bfloat16), 2)
        is_accepted = True
    assert supports_bfloat16_matmul() == is_accepted
