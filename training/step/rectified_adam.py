"""RAdam as a fused Adam whose learning rate is rectified: the same steps in a fraction of the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from training.step.adam import Adam

TRUSTED = 5.0
"""From here on there are enough second moments to divide by; before, the step goes along the first ones alone."""


class RectifiedAdam(Adam):
    """Its state is that of torch.optim.RAdam, so that either goes on from the other's."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(parameters, lr, betas, weight_decay=weight_decay, fused=True)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        (group,), known = self.param_groups, next(iter(self.state.values()), None)
        rate, step = group["lr"], 1 if known is None else 1 + int(known["step"])
        factor = rectification(step, group["betas"][1])
        if factor is None:
            self._along_first_moments(group, rate)
            return
        group["lr"] = rate * factor
        try:
            super().step()
        finally:
            group["lr"] = rate

    @torch.no_grad()
    def _along_first_moments(self, group: dict[str, Any], rate: float) -> None:
        """A fused step of no length keeps the moments; this one is taken instead."""
        group["lr"] = 0.0
        super().step()
        group["lr"] = rate
        learning = ((parameter, state) for parameter, state in self.state.items() if parameter.grad is not None)
        for parameter, state in learning:
            bias = 1 - group["betas"][0] ** float(state["step"])
            parameter.add_(state["exp_avg"], alpha=-rate / bias)


def rectification(step: int, beta2: float) -> float | None:
    """By how much Adam's step is to be shortened while its second moments are of few gradients; None: too few."""
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length <= TRUSTED:
        return None
    variance = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return float(variance**0.5)
