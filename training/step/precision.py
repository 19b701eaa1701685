"""Number format of the forward and backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hparams import UserError
from models.kernels.bfloat16 import supports_bfloat16_matmul

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NO_BFLOAT16 = "this processor has no instructions for bfloat16"


def require_precision(requested: str, device: torch.device) -> None:
    if requested == "float16" and device.type != "cuda":
        raise UserError(f"precision=float16: expected a GPU, got {device.type}; use bfloat16 or float32 there")


def half_precision(device: torch.device) -> str | None:
    """The 16-bit format that the device computes in, if there is one."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "bfloat16" if supports_bfloat16_matmul() else None


class Precision:
    """Autocast, and for float16 the loss scaling that keeps small gradients from becoming zero.

    "auto" means float32 here: a training replaces it once it has measured which format is faster.
    """

    def __init__(self, requested: str, device: torch.device) -> None:
        require_precision(requested, device)
        self.name, self._device = "float32" if requested == "auto" else requested, device
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.name == "float16")

    def autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=DTYPES[self.name], enabled=self.name != "float32")

    def scale(self, loss: Tensor) -> Tensor:
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        self._scaler.step(optimizer)
        self._scaler.update()

    def skip_step(self) -> None:
        """Skip the step after a non-finite gradient; float16 continues with a smaller loss scale."""
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and self.name == "float16":
            self._scaler.load_state_dict(state)
