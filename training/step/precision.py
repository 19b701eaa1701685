"""In which number format the forward pass runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hparams import UserError
from models.kernels.bfloat16 import supports_bfloat16_matmul

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NO_BFLOAT16 = "this processor has no instructions for bfloat16"


def require_precision(wanted: str, device: torch.device) -> None:
    if wanted == "float16" and device.type != "cuda":
        raise UserError(f"precision=float16: expected a GPU, got {device.type}; use bfloat16 or float32 there")


def half_precision(device: torch.device) -> str | None:
    """The shorter format that the device computes with, if there is one."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "bfloat16" if supports_bfloat16_matmul() else None


class Precision:
    """Autocast, and for float16 the scaling of the loss that keeps small gradients from vanishing.

    auto is float32 until a training has measured what is faster.
    """

    def __init__(self, wanted: str, device: torch.device) -> None:
        require_precision(wanted, device)
        self.name, self._device = "float32" if wanted == "auto" else wanted, device
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
        """The gradient was not finite: float16 tries a smaller scale next time."""
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and self.name == "float16":
            self._scaler.load_state_dict(state)
