"""Choice between the compiled kernels and plain torch operations, for the whole process: the setting `kernels`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor

Kernels = Literal["auto", "plain"]
_choice: Kernels = "auto"


def choose_kernels(kernels: Kernels) -> None:
    """auto: the fastest for each device; plain: torch's own operations, to compare with or to export."""
    global _choice
    _choice = kernels


def may_compile() -> bool:
    """Whether compiled kernels and captured CUDA graphs may be used."""
    return _choice == "auto"


def uses_cpu_kernels(x: Tensor) -> bool:
    """Tell whether the numba and oneDNN code computes with this tensor."""
    return may_compile() and x.device.type == "cpu"


@contextmanager
def plain_operations() -> Iterator[None]:
    """Compute by torch's own operations within this context."""
    before = _choice
    choose_kernels("plain")
    try:
        yield
    finally:
        choose_kernels(before)
