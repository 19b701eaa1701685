from __future__ import annotations

import pytest
import torch

from models.kernels import packed_linear as repeated_product
from models.kernels.packed_linear import RepeatedProduct


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


@pytest.mark.parametrize("can", [True, False])
def test_a_weight_in_bfloat16_is_rearranged_where_the_processor_can_multiply_it(
    monkeypatch: pytest.MonkeyPatch, can: bool
) -> None:
    rearranged: list[torch.dtype] = []

    def rearrange(weight: torch.Tensor, n_rows: int) -> torch.Tensor:
        rearranged.append(weight.dtype)
        return weight

    monkeypatch.setattr(repeated_product, "supports_bfloat16_matmul", lambda: can)
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", rearrange)
    for dtype in (torch.float32, torch.bfloat16):
        RepeatedProduct(torch.ones(3, 4), dtype, 2)
    assert rearranged == [torch.float32, *[torch.bfloat16] * can]


@pytest.mark.parametrize("n_rows", [1, 2, 8])
def test_plain_operations_find_the_same_product(monkeypatch: pytest.MonkeyPatch, n_rows: int) -> None:
    monkeypatch.setattr(repeated_product, "supports_bfloat16_matmul", lambda: False)
    weight, y = torch.randn(24, 40).bfloat16(), torch.randn(n_rows, 40)
    found = RepeatedProduct(weight, torch.bfloat16, n_rows)(y)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), y.bfloat16().float() @ weight.float().t(), rtol=1e-2, atol=1e-2)
