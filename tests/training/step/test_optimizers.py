"""Adam as torch's own is, without its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from files import REPOSITORY
from training.step.optimizers import Adam

PROGRAM = """
import sys, torch
from training.step.optimizers import RectifiedAdam
weight = torch.nn.Parameter(torch.ones(3))
optimizer = RectifiedAdam([weight], lr=0.1, betas=(0.9, 0.999), weight_decay=0.0)
for _ in range(8):
    optimizer.zero_grad()
    weight.square().sum().backward()
    optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print(float(weight[0]) < 1, "torch._dynamo" in sys.modules)
"""


def test_the_compiler_is_not_imported() -> None:
    root = REPOSITORY
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_steps_and_state_are_those_of_torchs_own(set_to_none: bool) -> None:
    torch.manual_seed(0)
    start = torch.randn(5)
    weights = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    ours = Adam(weights[:1], 0.01, (0.9, 0.99), weight_decay=0.1, fused=True)
    theirs = torch.optim.Adam(weights[1:], 0.01, (0.9, 0.99), weight_decay=0.1, fused=True)
    for i in range(6):
        for weight, optimizer in zip(weights, (ours, theirs), strict=True):
            optimizer.zero_grad(set_to_none=set_to_none)
            (weight * (i + 1)).sin().sum().backward()
            optimizer.step()
        if i == 3:  # each goes on from the other's
            of_ours, of_theirs = ours.state_dict(), theirs.state_dict()
            assert of_ours.keys() == of_theirs.keys()
            ours.load_state_dict(of_theirs)
            theirs.load_state_dict(of_ours)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
