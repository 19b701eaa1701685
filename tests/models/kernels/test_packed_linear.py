from __future__ import annotations

import pytest
import torch

from models.kernels import packed_linear
from models.kernels.packed_linear import PackedLinear


@pytest.mark.parametrize("n_rows", [1, 2, 8])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
def test_it_multiplies_with_the_transposed_weight(n_rows: int, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    weight = torch.randn(24, 40, dtype=wide, requires_grad=True)
    y = torch.randn(n_rows, 40, dtype=wide)
    with torch.no_grad():
        product, expected = PackedLinear(weight, dtype, n_rows)(y), y @ weight.t()
    assert product.dtype == dtype
    assert float((product - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("is_supported", [True, False])
def test_a_bfloat16_weight_is_packed_only_where_the_processor_multiplies_bfloat16(
    monkeypatch: pytest.MonkeyPatch, is_supported: bool
) -> None:
    packed: list[torch.dtype] = []

    def pack(weight: torch.Tensor, n_rows: int) -> torch.Tensor:
        packed.append(weight.dtype)
        return weight

    monkeypatch.setattr(packed_linear, "supports_bfloat16_matmul", lambda: is_supported)
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", pack)
    for dtype in (torch.float32, torch.bfloat16):
        PackedLinear(torch.ones(3, 4), dtype, 2)
    assert packed == [torch.float32, *[torch.bfloat16] * is_supported]


@pytest.mark.parametrize("n_rows", [1, 2, 8])
def test_plain_torch_operations_give_the_same_product(monkeypatch: pytest.MonkeyPatch, n_rows: int) -> None:
    monkeypatch.setattr(packed_linear, "supports_bfloat16_matmul", lambda: False)
    weight, y = torch.randn(24, 40).bfloat16(), torch.randn(n_rows, 40)
    product = PackedLinear(weight, torch.bfloat16, n_rows)(y)
    assert product.dtype == torch.bfloat16
    torch.testing.assert_close(product.float(), y.bfloat16().float() @ weight.float().t(), rtol=1e-2, atol=1e-2)
