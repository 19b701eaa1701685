"""The optimizers take the same steps as those of torch, without importing its compiler."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from files import REPOSITORY
from training.step.optimizers import Adam, RectifiedAdam, rectification

LEARNING_RATE, BETAS, DECAY = 1e-2, (0.9, 0.998), 1e-3
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


def test_compiler_is_not_imported() -> None:
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_adam_has_the_steps_and_the_state_of_torch(set_to_none: bool) -> None:
    torch.manual_seed(0)
    start = torch.randn(5)
    weights = [nn.Parameter(start.clone()) for _ in range(2)]
    adam = Adam(weights[:1], 0.01, (0.9, 0.99), weight_decay=0.1, fused=True)
    reference = torch.optim.Adam(weights[1:], 0.01, (0.9, 0.99), weight_decay=0.1, fused=True)
    for i in range(6):
        for weight, optimizer in zip(weights, (adam, reference), strict=True):
            optimizer.zero_grad(set_to_none=set_to_none)
            (weight * (i + 1)).sin().sum().backward()
            optimizer.step()
        if i == 3:  # each continues from the state of the other
            state, reference_state = adam.state_dict(), reference.state_dict()
            assert state.keys() == reference_state.keys()
            adam.load_state_dict(reference_state)
            reference.load_state_dict(state)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, n_steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        optimizer.zero_grad()
        model(torch.randn(8, 6, generator=generator)).square().mean().backward()
        optimizer.step()


def rectified_adam(model: nn.Module) -> RectifiedAdam:
    return RectifiedAdam(model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=DECAY)


def torch_radam(model: nn.Module) -> torch.optim.RAdam:
    return torch.optim.RAdam(model.parameters(), LEARNING_RATE, BETAS, weight_decay=DECAY)


def two_equal_models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    return model, copy.deepcopy(model)


def assert_close_weights(model: nn.Module, reference: nn.Module) -> None:
    for weight, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_steps", [1, 5, 6, 60])
def test_rectified_adam_has_the_steps_of_radam(n_steps: int) -> None:
    model, reference = two_equal_models()
    train(model, rectified_adam(model), n_steps)
    train(reference, torch_radam(reference), n_steps)
    assert_close_weights(model, reference)


def test_rectified_adam_continues_from_the_state_of_radam() -> None:
    model, reference = two_equal_models()
    radam = torch_radam(reference)
    train(reference, radam, 20)
    model.load_state_dict(reference.state_dict())
    optimizer = rectified_adam(model)
    state = copy.deepcopy(radam.state_dict()["state"])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    train(model, optimizer, 20, seed=1)
    train(reference, radam, 20, seed=1)
    assert_close_weights(model, reference)


def test_steps_do_not_change_the_learning_rate_that_was_set() -> None:
    model, _ = two_equal_models()
    optimizer = rectified_adam(model)
    for n_steps in (1, 20):
        train(model, optimizer, n_steps)
        assert optimizer.param_groups[0]["lr"] == LEARNING_RATE


def test_rectification_grows_to_one() -> None:
    factors = [rectification(step, 0.998) for step in (1, 5, 6, 10, 100, 100_000)]
    assert factors[:2] == [None, None]
    defined = [factor for factor in factors if factor is not None]
    assert len(defined) == 4 and defined == sorted(defined) and defined[-1] == pytest.approx(1.0, abs=1e-3)


def test_weights_without_gradient_stay_unchanged_from_the_first_step_on() -> None:
    model, _ = two_equal_models()
    optimizer, frozen = rectified_adam(model), next(model.parameters())
    train(model, optimizer, 1)
    before = frozen.detach().clone()
    frozen.requires_grad_(False)
    train(model, optimizer, 8)
    assert torch.equal(frozen, before)
