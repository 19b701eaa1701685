from __future__ import annotations

import pytest
import torch

from models.repeated_product import RepeatedProduct


@pytest.mark.parametrize("n_rows", [1, 2, 8])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_it_is_the_product_with_the_transposed_weight(n_rows: int, dtype: torch.dtype, allowed: float) -> None:
    torch.manual_seed(0)
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    weight = torch.randn(24, 40, dtype=wide, requires_grad=True)
    y = torch.randn(n_rows, 40, dtype=wide)
    with torch.no_grad():
        found, wanted = RepeatedProduct(weight, dtype, n_rows)(y), y @ weight.t()
    assert found.dtype == dtype
    assert float((found - wanted).norm() / wanted.norm()) < allowed
