"""Training of a model that has neither attention nor gate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint_file import load_checkpoint
from monitoring.measures.evaluation import evaluation_signals
from monitoring.measures.signals import step_signals
from speech.voice import load_voice
from tests.support.tiny import GLOW, tiny_hparams, tiny_trainer
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits
from training.step.optimizers import Adam, RectifiedAdam, build_optimizer
from training.trainer import EnhancedTrainer

QUIET = {"iters_per_evaluation": 100, "iters_per_checkpoint": 3}


def weights_of(trainer: EnhancedTrainer) -> list[torch.Tensor]:
    return [value.clone() for value in trainer.state.model.state_dict().values()]


def test_training_reduces_and_reports_the_losses_of_the_model(tmp_path: Path) -> None:
    trainer, observer = tiny_trainer(tmp_path, tiny_hparams(**GLOW))
    trainer.fit(RunLimits(max_steps=30))
    first, last = step_signals(observer.steps[0]), step_signals(observer.steps[-1])
    assert {"nll_loss", "duration_loss", "total_loss"} <= first.keys() and "gate_loss" not in first
    assert first["total_loss"] is not None and last["total_loss"] is not None
    assert last["total_loss"] < first["total_loss"]


def test_measures_and_gradient_norms_of_its_parts_are_reported_every_tenth_step(tmp_path: Path) -> None:
    hparams = tiny_hparams(**GLOW, grad_clip_thresh=1e-3)
    trainer, observer = tiny_trainer(tmp_path, hparams)
    trainer.fit(RunLimits(max_steps=20))
    measured = [report for report in observer.steps if report.measures["actnorm_scale"] is not None]
    assert [report.step for report in measured] == [10, 20]
    for report in measured:
        norms = [value for name, value in report.measures.items() if name.startswith("gradient_norm_")]
        assert len(norms) == 4 and all(norm is not None for norm in norms)  # encoder, durations, two flows
        total = math.fsum(norm**2 for norm in norms if norm is not None) ** 0.5
        assert total == pytest.approx(report.gradient_norm, rel=1e-3)
        condition, scale = report.measures["convolution_condition"], report.measures["actnorm_scale"]
        assert condition is not None and condition >= 1 and scale is not None and scale > 1
    assert all(report.loss_parts["logdet"] is not None for report in observer.steps)


def test_evaluation_has_a_score_without_a_gate(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**GLOW))
    report = trainer.validate()
    signals = evaluation_signals(report)
    assert "gate_accuracy" not in signals and signals["length_accuracy"] is not None
    assert signals["stop_rate"] == 1.0 and signals["composite_tts_score"] is not None
    assert signals["val_nll_loss"] is not None
    for decode in report.decodes:
        assert decode.forced_gate is None and np.isfinite(decode.free_mel).all()


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    """The resumed flow does not repeat its initialization from the first batch."""
    hparams = tiny_hparams(**GLOW, **QUIET)
    uninterrupted, _ = tiny_trainer(tmp_path / "uninterrupted", hparams)
    uninterrupted.fit(RunLimits(max_steps=7))
    half, _ = tiny_trainer(tmp_path / "half", hparams)
    half.fit(RunLimits(max_steps=3))
    resumed, _ = tiny_trainer(tmp_path / "half", hparams)
    resumed.state.load_state_dict(load_checkpoint(list_checkpoints(tmp_path / "half" / "checkpoints")[-1].path))
    resumed.fit(RunLimits(max_steps=7))
    for a, b in zip(weights_of(uninterrupted), weights_of(resumed), strict=True):
        assert torch.equal(a, b)


def test_written_voice_synthesizes(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**GLOW))
    trainer.fit(RunLimits(max_steps=2))
    voice = load_voice(trainer.write_voice())
    decoded = voice.model.synthesize(torch.tensor([[1, 2, 3]]), torch.tensor([3]))
    assert int(decoded.mel_lengths) >= 2 and torch.isfinite(decoded.mels).all()


def test_knobs_turn_although_the_model_has_no_gate(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**GLOW))
    trainer.state.turn_knobs({"learning_rate_multiplier": 0.5})
    assert trainer.state.knobs.learning_rate_multiplier == 0.5


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("radam", RectifiedAdam)])
def test_optimizer_is_chosen_by_the_recipe(name: str, kind: type[torch.optim.Optimizer]) -> None:
    hparams = tiny_hparams(optimizer=name, adam_beta2=0.98, weight_decay=0.25, learning_rate=3e-3)
    optimizer = build_optimizer(torch.nn.Linear(2, 2), hparams)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (3e-3, (0.9, 0.98), 0.25)
