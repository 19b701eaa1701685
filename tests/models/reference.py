"""Fixtures with numbers that the reference implementations computed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

FIXTURES = Path(__file__).parents[1] / "fixtures" / "reference"


@dataclass(frozen=True)
class Reference:
    """One fixture file: settings under the reference's names, and tensors."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def read_reference(name: str) -> Reference:
    path = Path(os.environ.get("REFERENCE_FIXTURES", FIXTURES)) / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return Reference(config, tensors)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    tolerance = 1e-5 * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(actual.detach(), expected, atol=tolerance, rtol=0)


def assert_gradients_equal(model: nn.Module, norms: dict[str, Tensor]) -> None:
    assert norms
    parameters = dict(model.named_parameters())
    for name, norm in norms.items():
        gradient = parameters[name].grad
        assert gradient is not None
        torch.testing.assert_close(gradient.norm(), norm, rtol=1e-4, atol=0, msg=name)
