"""In which number format the forward pass runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hparams import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_precision(wanted: str, device: torch.device) -> str:
    """auto: bfloat16 on GPUs that have it, float32 elsewhere."""
    if wanted == "float16" and device.type != "cuda":
        raise UserError(f"precision=float16: expected a GPU, got {device.type}; use bfloat16 or float32 there")
    if wanted != "auto":
        return wanted
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has_bfloat16 else "float32"


class Precision:
    """Autocast, and for float16 the scaling of the loss that keeps small gradients from vanishing."""

    def __init__(self, wanted: str, device: torch.device) -> None:
        self.name, self._device = choose_precision(wanted, device), device
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

    def skipped(self) -> None:
        """The gradient was not finite: float16 tries a smaller scale next time."""
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and self.name == "float16":
            self._scaler.load_state_dict(state)
