from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoint_file import is_foreign, load_checkpoint
from models.weights import load_all_weights
from tests.support.tiny import GLOW, tiny_hparams, tiny_model, tiny_trainer

PATH = Path("old.pt")
HPARAMS = tiny_hparams()


def nvidia_checkpoint(path: Path, prefix: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint in the format of the NVIDIA implementation after two steps, read back; and its weights."""
    trainer, _ = tiny_trainer(path, HPARAMS)
    for _, batch in zip(range(2), trainer.state.data.train.epoch(0), strict=False):
        trainer.train_step(batch)
    weights = trainer.state.model.state_dict()
    content = {
        "iteration": 2,
        "state_dict": {prefix + name: value for name, value in weights.items()},
        "optimizer": trainer.state.optimizer.state_dict(),
        "learning_rate": 1e-3,
    }
    torch.save(content, path / "checkpoint_2")
    return load_checkpoint(path / "checkpoint_2"), weights


@pytest.mark.parametrize("prefix", ["", "module."])
def test_training_continues_from_a_foreign_checkpoint(tmp_path: Path, prefix: str) -> None:
    state, weights = nvidia_checkpoint(tmp_path, prefix)
    trainer, _ = tiny_trainer(tmp_path, HPARAMS)
    assert is_foreign(state)
    load_all_weights(trainer.state.model, tmp_path / "checkpoint_2", state)
    trainer.state.load_foreign(state)
    torch.testing.assert_close(trainer.state.model.state_dict(), weights, rtol=0, atol=0)
    moments = trainer.state.optimizer.state_dict()["state"]
    assert moments and torch.equal(moments[0]["exp_avg"], state["optimizer"]["state"][0]["exp_avg"])
    assert trainer.state.progress.step == 2
    report = trainer.train_step(next(iter(trainer.state.data.train.epoch(0))))
    assert report.step == 3 and report.gradient_norm is not None
    assert report.learning_rate == HPARAMS.learning_rate


def test_training_continues_from_a_foreign_checkpoint_without_an_optimizer(tmp_path: Path) -> None:
    state, weights = nvidia_checkpoint(tmp_path)
    del state["optimizer"]
    trainer, _ = tiny_trainer(tmp_path, HPARAMS)
    load_all_weights(trainer.state.model, PATH, state)
    trainer.state.load_foreign(state)
    assert trainer.train_step(next(iter(trainer.state.data.train.epoch(0)))).gradient_norm is not None


@pytest.mark.parametrize(
    "groups",
    [[{"params": [0, 1], "lr": 0.1}], [{"params": [0], "lr": 0.1}, {"params": [1], "lr": 0.1}], []],
)
def test_a_foreign_optimizer_that_does_not_fit_is_replaced_by_a_new_one(tmp_path: Path, groups: list[Any]) -> None:
    state, weights = nvidia_checkpoint(tmp_path)
    state["optimizer"] = {"state": {}, "param_groups": groups}
    trainer, _ = tiny_trainer(tmp_path, HPARAMS)
    load_all_weights(trainer.state.model, PATH, state)
    trainer.state.load_foreign(state)
    torch.testing.assert_close(trainer.state.model.state_dict(), weights, rtol=0, atol=0)
    assert trainer.train_step(next(iter(trainer.state.data.train.epoch(0)))).gradient_norm is not None


def test_training_continues_from_a_coqui_checkpoint_with_weights_and_step(tmp_path: Path) -> None:
    hparams = tiny_hparams(**GLOW)
    weights = tiny_model(hparams, seed=1).state_dict()
    content = {"config": {"model": "glow_tts"}, "model": weights, "optimizer": None, "step": 1700, "model_loss": 0.5}
    torch.save(content, tmp_path / "checkpoint_1700.pth")
    state = load_checkpoint(tmp_path / "checkpoint_1700.pth")
    trainer, _ = tiny_trainer(tmp_path, hparams)
    assert is_foreign(state)
    load_all_weights(trainer.state.model, PATH, state)
    trainer.state.load_foreign(state)
    torch.testing.assert_close(trainer.state.model.state_dict(), dict(weights), rtol=0, atol=0)
    assert trainer.state.progress.step == 1700
    assert trainer.train_step(next(iter(trainer.state.data.train.epoch(0)))).gradient_norm is not None


def test_our_own_checkpoints_are_not_foreign() -> None:
    assert not is_foreign({"schema_version": 1, "model": {}})
