"""Adam and RAdam, fused, without the import of torch's compiler."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from hparams import HParams

MIN_EFFECTIVE_GRADIENTS = 5.0
"""RAdam divides by the second moments once they average more gradients than this; before, it uses the first alone."""

_adam_step: Any = unwrap(torch.optim.Adam.step)


def build_optimizer(model: nn.Module, hparams: HParams) -> torch.optim.Optimizer:
    betas, decay = (0.9, hparams.adam_beta2), hparams.weight_decay
    if hparams.optimizer == "radam":
        return RectifiedAdam(model.parameters(), lr=hparams.learning_rate, betas=betas, weight_decay=decay)
    return Adam(model.parameters(), hparams.learning_rate, betas, weight_decay=decay, fused=True)


class Adam(torch.optim.Adam):
    """torch's Adam without the decorators of its methods: they import the compiler, which takes a second at start."""

    add_param_group: Any = unwrap(Optimizer.add_param_group)
    zero_grad: Any = unwrap(Optimizer.zero_grad)
    state_dict: Any = unwrap(Optimizer.state_dict)
    load_state_dict: Any = unwrap(Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _adam_step(self)


class RectifiedAdam(Adam):
    """RAdam as a fused Adam with a rectified learning rate: the same steps in a fraction of the time.

    Its state dict is that of torch.optim.RAdam; each can load the other's.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(parameters, lr, betas, weight_decay=weight_decay, fused=True)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        (group,), state = self.param_groups, next(iter(self.state.values()), None)
        learning_rate, step = group["lr"], 1 if state is None else 1 + int(state["step"])
        factor = rectification(step, group["betas"][1])
        if factor is None:
            self._step_by_first_moments(group, learning_rate)
            return
        group["lr"] = learning_rate * factor
        try:
            super().step()
        finally:
            group["lr"] = learning_rate

    @torch.no_grad()
    def _step_by_first_moments(self, group: dict[str, Any], learning_rate: float) -> None:
        group["lr"] = 0.0
        super().step()  # updates the moments and, at this rate, no weights
        group["lr"] = learning_rate
        with_gradient = ((parameter, state) for parameter, state in self.state.items() if parameter.grad is not None)
        for parameter, state in with_gradient:
            bias_correction = 1 - group["betas"][0] ** float(state["step"])
            parameter.add_(state["exp_avg"], alpha=-learning_rate / bias_correction)


def rectification(step: int, beta2: float) -> float | None:
    """RAdam's factor on the learning rate; None while the second moments average too few gradients."""
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length <= MIN_EFFECTIVE_GRADIENTS:
        return None
    variance = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return float(variance**0.5)
