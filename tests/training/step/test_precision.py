from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hparams import UserError
from tests.support.tiny import tacotron, tiny_hparams, tiny_trainer
from training.step.precision import Precision, half_precision

CPU = torch.device("cpu")


def test_auto_means_float32_until_another_format_was_measured() -> None:
    assert Precision("auto", CPU).name == "float32"


@pytest.mark.parametrize(("is_supported", "expected"), [(True, "bfloat16"), (False, None)])
def test_cpu_has_bfloat16_if_it_multiplies_bfloat16_matrices(
    monkeypatch: pytest.MonkeyPatch, is_supported: bool, expected: str | None
) -> None:
    monkeypatch.setattr("training.step.precision.supports_bfloat16_matmul", lambda: is_supported)
    assert half_precision(CPU) == expected


@pytest.fixture
def float16_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow float16 on a CPU, where loss scaling works although an LSTM cannot be trained."""
    monkeypatch.setattr("training.step.precision.require_precision", lambda requested, device: None)


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(UserError, match="precision=float16: expected a GPU"):
        Precision("float16", CPU)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_autocast_computes_in_the_requested_format(precision: str) -> None:
    with Precision(precision, CPU).autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, precision)


def test_bfloat16_trains_with_losses_close_to_those_of_float32(tmp_path: Path) -> None:
    reports = {}
    for name in ("float32", "bfloat16"):
        trainer, _ = tiny_trainer(tmp_path, tiny_hparams(precision=name))
        batch = next(iter(trainer.state.data.train.epoch(0)))
        torch.manual_seed(3)
        before = tacotron(trainer).embedding.weight.detach().clone()
        reports[name] = trainer.train_step(batch)
        assert not torch.equal(before, tacotron(trainer).embedding.weight)
        assert {p.dtype for p in trainer.state.model.parameters()} == {torch.float32}
    assert reports["bfloat16"].total_loss == pytest.approx(reports["float32"].total_loss, rel=0.02)
    assert reports["bfloat16"].gradient_norm == pytest.approx(reports["float32"].gradient_norm, rel=0.1)
    assert reports["bfloat16"].nonfinite_steps == 0


def test_evaluation_in_bfloat16_is_finite(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(precision="bfloat16"))
    losses = trainer.validate().losses
    assert all(torch.tensor(value).isfinite() for value in losses.values())


def scaled_step(
    precision: Precision, weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, factor: float
) -> bool:
    """One step as the learner takes it; returns whether the gradient was finite."""
    optimizer.zero_grad()
    precision.scale((weight * factor).sum()).backward()
    precision.unscale(optimizer)
    assert weight.grad is not None
    if weight.grad.isfinite().all():
        precision.step(optimizer)
        return True
    precision.skip_step()
    return False


@pytest.mark.usefixtures("float16_on_a_cpu")
def test_float16_skips_a_non_finite_gradient_and_reduces_the_loss_scale() -> None:
    precision, weight = Precision("float16", CPU), torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    assert not scaled_step(precision, weight, optimizer, 1e35)
    scale = precision.state_dict()["scale"]
    assert scale == Precision("float16", CPU)._scaler.get_scale() / 2
    assert torch.equal(weight.detach(), torch.ones(3))
    assert scaled_step(precision, weight, optimizer, 2.0)
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.8))


@pytest.mark.usefixtures("float16_on_a_cpu")
def test_float16_loss_scale_is_restored_from_the_state() -> None:
    precision, weight = Precision("float16", CPU), torch.nn.Parameter(torch.ones(3))
    scaled_step(precision, weight, torch.optim.SGD([weight], lr=0.1), 1e35)
    restored = Precision("float16", CPU)
    restored.load_state_dict(precision.state_dict())
    assert restored.state_dict() == precision.state_dict() != Precision("float16", CPU).state_dict()


@pytest.mark.usefixtures("float16_on_a_cpu")
@pytest.mark.parametrize(("before", "now"), [("float16", "float32"), ("float32", "float16"), ("float32", "bfloat16")])
def test_state_of_another_format_is_ignored(before: str, now: str) -> None:
    precision = Precision(now, CPU)
    fresh = precision.state_dict()
    precision.load_state_dict(Precision(before, CPU).state_dict())
    assert precision.state_dict() == fresh
