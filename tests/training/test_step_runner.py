"""Single training steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from corpus.batches import Batch
from tests.support.tiny import NO_DROPOUT, tacotron, tiny_data, tiny_hparams, tiny_mel, tiny_trainer
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer


def first_batch(trainer: EnhancedTrainer) -> Batch:
    return next(iter(trainer.state.data.train.epoch(0)))


def learned_state(trainer: EnhancedTrainer) -> dict[str, Any]:
    """Copies of weights, batch norm statistics and the state of the optimizer."""
    state: dict[str, Any] = {name: t.clone() for name, t in trainer.state.model.state_dict().items()}
    for number, moments in trainer.state.optimizer.state_dict()["state"].items():
        state |= {f"{number} {name}": torch.as_tensor(value).clone() for name, value in moments.items()}
    return state


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_loss_falls_when_overfitting_one_batch(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**NO_DROPOUT))
    batch = first_batch(trainer)
    losses = [trainer.train_step(batch).total_loss for _ in range(40)]
    assert losses[0] is not None and losses[-1] is not None
    assert losses[-1] < losses[0] / 2


def test_step_report_describes_the_step(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(warmup_steps=4))
    trainer.state.knobs.learning_rate_multiplier = 0.5
    batch = first_batch(trainer)
    reports = [trainer.train_step(batch) for _ in range(10)]
    report = reports[0]
    assert (report.step, report.epoch, report.utterance_ids, report.nonfinite_steps) == (1, 0, batch.ids, 0)
    assert report.learning_rate == pytest.approx(1e-2 / 4 * 0.5)
    assert {group["lr"] for group in trainer.state.optimizer.param_groups} == {reports[-1].learning_rate} == {5e-3}
    assert report.loss_parts.keys() == {"mel_loss", "gate_loss", "guide_loss"}
    parts = (*report.loss_parts.values(), report.total_loss, report.gradient_norm)
    assert all(part is not None and part > 0 for part in parts)
    assert report.frames_per_second > 0 and 0 <= report.data_wait_share < 1 and report.memory_bytes > 10**6
    ratios = [r.update_ratio for r in reports]
    assert ratios[:9] == [None] * 9 and ratios[9] is not None and 0 < ratios[9] < 1


def test_gradient_is_clipped_and_its_norm_before_clipping_is_reported(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    trainer.state.knobs.grad_clip_thresh = 0.05
    report = trainer.train_step(first_batch(trainer))
    gradients = [p.grad.flatten() for p in trainer.state.model.parameters() if p.grad is not None]
    assert report.gradient_norm is not None and report.gradient_norm > 0.5
    assert float(torch.cat(gradients).norm()) == pytest.approx(0.05, rel=1e-3)


def test_loss_knobs_take_effect(tmp_path: Path) -> None:
    totals = []
    for multiplier in (1.0, 2.0):
        trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**NO_DROPOUT, guide_loss_weight=3.0))
        trainer.state.knobs.guide_weight_multiplier = multiplier
        report = trainer.train_step(first_batch(trainer))
        guide_loss = report.loss_parts["guide_loss"]
        assert report.total_loss is not None and guide_loss is not None
        totals.append(report.total_loss - 3.0 * multiplier * guide_loss)
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def poison_mel(value: float) -> Callable[[EnhancedTrainer, Batch], Batch]:
    def poison(trainer: EnhancedTrainer, batch: Batch) -> Batch:
        mels = batch.mels.clone()
        mels[0, 0, 0] = value
        return replace(batch, mels=mels)

    return poison


def poison_weight(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    with torch.no_grad():
        tacotron(trainer).decoder.gate_layer.linear_layer.weight[0, 0] = math.inf
    return batch


def poison_gradient(trainer: EnhancedTrainer, batch: Batch) -> Batch:
    """Let the gradient of one weight overflow while the loss stays finite."""

    def overflow(gradient: Tensor) -> Tensor:
        handle.remove()
        return gradient * math.inf

    handle = tacotron(trainer).embedding.weight.register_hook(overflow)
    return batch


@pytest.mark.parametrize("n_steps_before", [0, 2])
@pytest.mark.parametrize(
    "poison",
    [poison_mel(math.nan), poison_mel(math.inf), poison_weight, poison_gradient],
    ids=["NaN mel", "infinite mel", "infinite weight", "infinite gradient"],
)
def test_non_finite_step_changes_nothing_and_is_counted(
    tmp_path: Path, poison: Callable[[EnhancedTrainer, Batch], Batch], n_steps_before: int
) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    batch = first_batch(trainer)
    for _ in range(n_steps_before):
        trainer.train_step(batch)
    poisoned = poison(trainer, batch)
    before = learned_state(trainer)
    report = trainer.train_step(poisoned)
    assert_same(learned_state(trainer), before)
    assert report.nonfinite_steps == 1 and report.step == n_steps_before + 1
    values = (report.total_loss, *report.loss_parts.values(), report.gradient_norm)
    assert values == (None,) * 5 and report.update_ratio is None


@pytest.mark.parametrize("poison", [poison_mel(math.nan), poison_gradient], ids=["mel", "gradient"])
def test_training_continues_after_a_non_finite_step(
    tmp_path: Path, poison: Callable[[EnhancedTrainer, Batch], Batch]
) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    batch = first_batch(trainer)
    trainer.train_step(poison(trainer, batch))
    before = learned_state(trainer)
    report = trainer.train_step(batch)
    assert report.total_loss is not None and report.nonfinite_steps == 1
    assert not torch.equal(before["embedding.weight"], tacotron(trainer).embedding.weight)


def test_nan_utterance_cancels_only_its_own_batches(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_evaluation=1000, iters_per_checkpoint=1000)

    def load(utterance: Any) -> np.ndarray:
        return tiny_mel(utterance) * (np.float32("nan") if utterance.id.startswith("u03") else np.float32(1))

    trainer, observer = tiny_trainer(tmp_path, hparams, data=tiny_data(hparams, load))
    trainer.fit(RunLimits(max_steps=6))
    assert [r.total_loss is None for r in observer.steps] == [
        any(i[:3] == "u03" for i in r.utterance_ids) for r in observer.steps
    ]
    assert observer.steps[-1].nonfinite_steps == 2
    assert all(p.isfinite().all() for p in trainer.state.model.state_dict().values())
