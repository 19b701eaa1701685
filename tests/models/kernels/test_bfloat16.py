from __future__ import annotations

import contextlib

import numba
import numpy as np
import torch

from models.kernels.bfloat16 import array_of, store, supports_bfloat16_matmul, widened


@numba.njit
def copy(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(len(x)):
        store(y, i, widened(x[i]))


def test_bfloat16_is_rounded_as_torch_rounds_it() -> None:
    bits = torch.randint(-(2**31), 2**31 - 1, (100_000,), generator=torch.Generator().manual_seed(0))
    halfway = (torch.arange(256) << 16 | 0x3F808000).int()  # between two, of which the even one is meant
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1e-40, 3.3e38, 3.4e38])
    x = torch.cat([bits.int().view(torch.float32), halfway.view(torch.float32), special])
    x = x[~x.isnan() | (x.view(torch.int32) == special[:1].view(torch.int32))]  # no arithmetic makes the others
    short = torch.empty_like(x, dtype=torch.bfloat16)
    copy(array_of(x), array_of(short))
    torch.testing.assert_close(short, x.bfloat16(), rtol=0, atol=0, equal_nan=True)
    back = torch.empty_like(x)
    copy(array_of(short), array_of(back))
    torch.testing.assert_close(back, short.float(), rtol=0, atol=0, equal_nan=True)


def test_what_is_wide_is_left_as_it_is() -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(10, dtype=dtype)
        found = torch.empty_like(x)
        copy(array_of(x), array_of(found))
        assert torch.equal(found, x)


def test_whether_bfloat16_is_multiplied_is_what_onednn_says_to_a_weight() -> None:
    is_taken = False
    with contextlib.suppress(RuntimeError):
        torch.ops.mkldnn._reorder_linear_weight(torch.ones(16, 16, dtype=torch.bfloat16), 2)
        is_taken = True
    assert supports_bfloat16_matmul() == is_taken
