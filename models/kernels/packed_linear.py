"""Products of a few rows with the same large weight, step after step: on a CPU half of their time is its layout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.kernels.bfloat16 import supports_bfloat16_matmul


def state_of(weight: Tensor) -> tuple[int | None, int]:
    """Another one when the weight is another one; one that inference mode has made does not change."""
    return None if weight.is_inference() else weight._version, weight.data_ptr()


class RepeatedProduct:
    """y [B, n_in] → y @ weight.t() with a weight [n_out, n_in], in the given dtype; the weight is rearranged once."""

    def __init__(self, weight: Tensor, dtype: torch.dtype, n_rows: int) -> None:
        self._dtype, self._weight = dtype, weight.detach().to(dtype).contiguous()
        self._is_packed = weight.device.type == "cpu" and _is_packed(dtype)
        if self._is_packed:
            fewest = 2 if dtype == torch.bfloat16 else 1  # for one row alone it would be laid out for a slow way
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, max(n_rows, fewest))

    def __call__(self, y: Tensor) -> Tensor:
        y = y.to(self._dtype)
        if self._is_packed:
            found: Tensor = torch.ops.mkldnn._linear_pointwise(y, self._weight, None, "none", [], "")
            return found
        return F.linear(y, self._weight)


def _is_packed(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN has a layout of its own for such weights on this processor."""
    if dtype == torch.bfloat16:
        return supports_bfloat16_matmul()
    return dtype == torch.float32 and torch.backends.mkldnn.is_available()
