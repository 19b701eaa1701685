"""It takes the steps of torch.optim.RAdam."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from training.step.optimizers import RectifiedAdam, rectification

RATE, BETAS, DECAY = 1e-2, (0.9, 0.998), 1e-3


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, n_steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        optimizer.zero_grad()
        model(torch.randn(8, 6, generator=generator)).square().mean().backward()
        optimizer.step()


def rectified(model: nn.Module) -> RectifiedAdam:
    return RectifiedAdam(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY)


def radam(model: nn.Module) -> torch.optim.RAdam:
    return torch.optim.RAdam(model.parameters(), RATE, BETAS, weight_decay=DECAY)


def twins() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    return model, copy.deepcopy(model)


@pytest.mark.parametrize("n_steps", [1, 5, 6, 60])
def test_its_steps_are_those_of_radam(n_steps: int) -> None:
    own, other = twins()
    learn(own, rectified(own), n_steps)
    learn(other, radam(other), n_steps)
    for mine, theirs in zip(own.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_it_goes_on_from_the_state_of_radam() -> None:
    own, other = twins()
    theirs = radam(other)
    learn(other, theirs, 20)
    own.load_state_dict(other.state_dict())
    mine = rectified(own)
    state = copy.deepcopy(theirs.state_dict()["state"])
    mine.load_state_dict({"state": state, "param_groups": mine.state_dict()["param_groups"]})
    learn(own, mine, 20, seed=1)
    learn(other, theirs, 20, seed=1)
    for parameter, twin in zip(own.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter, twin, rtol=1e-4, atol=1e-6)


def test_its_learning_rate_stays_what_it_was_set_to() -> None:
    model, _ = twins()
    optimizer = rectified(model)
    for n_steps in (1, 20):
        learn(model, optimizer, n_steps)
        assert optimizer.param_groups[0]["lr"] == RATE


def test_steps_grow_from_nothing_to_those_of_adam() -> None:
    factors = [rectification(step, 0.998) for step in (1, 5, 6, 10, 100, 100_000)]
    assert factors[:2] == [None, None]
    known = [factor for factor in factors if factor is not None]
    assert len(known) == 4 and known == sorted(known) and known[-1] == pytest.approx(1.0, abs=1e-3)


def test_what_has_no_gradient_stays_where_it_is_from_the_first_step_on() -> None:
    model, _ = twins()
    optimizer, frozen = rectified(model), next(model.parameters())
    learn(model, optimizer, 1)
    before = frozen.detach().clone()
    frozen.requires_grad_(False)
    learn(model, optimizer, 8)
    assert torch.equal(frozen, before)
