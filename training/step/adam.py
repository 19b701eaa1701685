"""Adam without the way to torch's compiler, whose import would be a second of each start."""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch
from torch.optim import Optimizer

_step: Any = unwrap(torch.optim.Adam.step)


class Adam(torch.optim.Adam):
    """The same functions as they are beneath their decorators, which tell the compiler to leave them alone."""

    add_param_group: Any = unwrap(Optimizer.add_param_group)
    zero_grad: Any = unwrap(Optimizer.zero_grad)
    state_dict: Any = unwrap(Optimizer.state_dict)
    load_state_dict: Any = unwrap(Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _step(self)
