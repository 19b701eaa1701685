from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from corpus.batches import Batch
from models.checkpoint_file import load_checkpoint
from speech.voice import load_voice
from tests.tiny import NO_DROPOUT, RecordingObserver, tacotron, tiny_data, tiny_hparams, tiny_mel, tiny_trainer
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

QUIET = {"iters_per_evaluation": 1000, "iters_per_checkpoint": 1000}


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
    hparams = tiny_hparams(**QUIET)

    def load(utterance: Any) -> np.ndarray:
        return tiny_mel(utterance) * (np.float32("nan") if utterance.id.startswith("u03") else np.float32(1))

    trainer, observer = tiny_trainer(tmp_path, hparams, data=tiny_data(hparams, load))
    trainer.fit(RunLimits(max_steps=6))
    assert [r.total_loss is None for r in observer.steps] == [
        any(i[:3] == "u03" for i in r.utterance_ids) for r in observer.steps
    ]
    assert observer.steps[-1].nonfinite_steps == 2
    assert all(p.isfinite().all() for p in trainer.state.model.state_dict().values())


@pytest.fixture(scope="module")
def uninterrupted_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordingObserver, EnhancedTrainer]:
    """Eight steps of a training with three batches an epoch, saved at every step and evaluated at every third."""
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=3, keep_checkpoints=99)
    trainer, observer = tiny_trainer(tmp_path_factory.mktemp("uninterrupted"), hparams)
    assert trainer.fit(RunLimits(max_steps=8)) == "max_steps"
    return observer, trainer


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7])
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    tmp_path: Path, uninterrupted_run: tuple[RecordingObserver, EnhancedTrainer], k: int
) -> None:
    expected, uninterrupted = uninterrupted_run
    path = next(c.path for c in list_checkpoints(uninterrupted.state.folder / "checkpoints") if c.step == k)
    trainer, observer = tiny_trainer(tmp_path, uninterrupted.state.hparams)
    torch.rand(k)
    trainer.load_state_dict(load_checkpoint(path))
    trainer.fit(RunLimits(max_steps=8))
    assert observer.restored == {"n_steps": k}
    assert observer.losses == expected.losses[k:] and None not in observer.losses
    assert [r.utterance_ids for r in observer.steps] == [r.utterance_ids for r in expected.steps[k:]]
    assert [e.losses for e in observer.evaluations] == [e.losses for e in expected.evaluations if e.step > k]
    assert_same(learned_state(trainer), learned_state(uninterrupted))


def test_evaluations_and_checkpoints_do_not_change_the_training(
    tmp_path: Path, uninterrupted_run: tuple[RecordingObserver, EnhancedTrainer]
) -> None:
    expected, uninterrupted = uninterrupted_run
    trainer, observer = tiny_trainer(tmp_path, tiny_hparams(**QUIET))
    trainer.fit(RunLimits(max_steps=8))
    assert observer.losses == expected.losses
    assert_same(learned_state(trainer), learned_state(uninterrupted))


def test_epoch_starts_over_with_other_data(
    tmp_path: Path, uninterrupted_run: tuple[RecordingObserver, EnhancedTrainer]
) -> None:
    _, uninterrupted = uninterrupted_run
    path = next(c.path for c in list_checkpoints(uninterrupted.state.folder / "checkpoints") if c.step == 5)
    trainer, _ = tiny_trainer(
        tmp_path, uninterrupted.state.hparams, data=tiny_data(uninterrupted.state.hparams, fingerprint="other")
    )
    trainer.load_state_dict(load_checkpoint(path))
    assert (trainer.state.progress.step, trainer.state.progress.epoch, trainer.state.progress.batch) == (5, 1, 0)


def test_resume_keeps_turned_knobs_and_applies_changed_settings(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    trainer.state.knobs.learning_rate_multiplier, trainer.state.knobs.guide_sigma = 0.25, 0.7
    trainer.state.knobs.grad_clip_thresh = 0.5
    state = load_checkpoint(trainer.state.save())
    resumed, _ = tiny_trainer(tmp_path, tiny_hparams(grad_clip_thresh=3.0, weight_decay=0.01))
    resumed.load_state_dict(state)
    assert (resumed.state.knobs.learning_rate_multiplier, resumed.state.knobs.guide_sigma) == (0.25, 0.7)
    assert resumed.state.knobs.grad_clip_thresh == 3.0
    assert resumed.state.optimizer.param_groups[0]["weight_decay"] == 0.01


def test_resume_restores_the_moments_but_not_the_settings_of_the_optimizer(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    trainer.train_step(first_batch(trainer))
    state = load_checkpoint(trainer.state.save())
    state["optimizer"]["param_groups"][0] |= {"fused": None, "eps": 1.0, "betas": (0.1, 0.2)}
    resumed, _ = tiny_trainer(tmp_path, tiny_hparams())
    settings = {**resumed.state.optimizer.param_groups[0], "params": None}
    resumed.load_state_dict(state)
    assert {**resumed.state.optimizer.param_groups[0], "params": None} == settings
    assert resumed.state.optimizer.state_dict()["state"][0]["step"] == 1
    resumed.train_step(first_batch(resumed))


def test_branch_does_not_inherit_a_best_voice_that_is_not_in_its_folder(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=1)
    first, observer = tiny_trainer(tmp_path / "a", hparams, observer=RecordingObserver({1: 0.9}))
    first.fit(RunLimits(max_steps=1))
    branch, _ = tiny_trainer(tmp_path / "b", hparams, observer=RecordingObserver({2: 0.5, 3: 0.4}))
    branch.load_state_dict(load_checkpoint(observer.checkpoints[-1][0]))
    branch.fit(RunLimits(max_steps=3))
    assert (branch.state.progress.best_step, branch.state.progress.best_score) == (2, 0.5)
    assert load_voice(branch.write_voice()).step == 2


def test_training_ends_after_the_epochs(tmp_path: Path) -> None:
    trainer, observer = tiny_trainer(tmp_path, tiny_hparams(epochs=2, **QUIET))
    assert trainer.fit(RunLimits(max_steps=100)) == "epochs"
    assert [r.epoch for r in observer.steps] == [0, 0, 0, 1, 1, 1]
    ids = sorted(id_ for r in observer.steps[3:] for id_ in r.utterance_ids)
    assert ids == sorted(e.utterance.id for e in trainer.state.data.train.examples)


def test_training_ends_at_the_deadline(tmp_path: Path) -> None:
    trainer, observer = tiny_trainer(tmp_path, tiny_hparams(**QUIET))
    assert trainer.fit(RunLimits(deadline=time.monotonic() - 1)) == "max_minutes"
    evaluated, saved = ["before evaluation", "evaluation 0"], ["before checkpoint", "after checkpoint"]
    assert observer.steps == [] and observer.events == evaluated + saved


def test_stop_request_saves_without_evaluating(tmp_path: Path) -> None:
    limits = RunLimits()

    class Stopper(RecordingObserver):
        def on_step(self, report: Any) -> None:
            super().on_step(report)
            limits.stop = "SIGINT" if report.step == 2 else None

    trainer, observer = tiny_trainer(tmp_path, tiny_hparams(**QUIET), observer=Stopper())
    assert trainer.fit(limits) == "SIGINT"
    assert observer.events == ["step 1", "step 2", "before checkpoint", "after checkpoint"]
    assert load_checkpoint(observer.checkpoints[-1][0])["progress"]["step"] == 2


def test_observer_receives_all_events_in_order(tmp_path: Path) -> None:
    observer = RecordingObserver(scores={2: 0.5, 4: 0.4})
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(iters_per_checkpoint=3, iters_per_evaluation=2), observer=observer)
    trainer.fit(RunLimits(max_steps=5))
    saved = ["before checkpoint", "after checkpoint"]
    assert observer.events == [
        *("step 1", "step 2", "before evaluation", "evaluation 2", *saved),
        *("step 3", *saved),
        *("step 4", "before evaluation", "evaluation 4", "step 5", "before evaluation", "evaluation 5", *saved),
    ]
    assert [e.step for e in observer.evaluations] == [2, 4, 5]
    assert len(observer.evaluations[0].decodes) == 3 and len(observer.evaluations[0].sentences) == 1
    best = observer.checkpoints[-1][1]
    assert best is not None and load_checkpoint(best)["progress"]["step"] == 2
    assert load_voice(tmp_path / "voice.safetensors").step == 2


def test_best_checkpoint_is_kept_and_becomes_the_voice(tmp_path: Path) -> None:
    observer = RecordingObserver(scores={1: 0.2, 2: 0.9, 3: None, 4: 0.9, 5: 0.3})
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=1, keep_checkpoints=1)
    trainer, _ = tiny_trainer(tmp_path, hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=5))
    assert [c.step for c in list_checkpoints(tmp_path / "checkpoints")] == [2, 5]
    path = trainer.state.best_checkpoint()
    assert path is not None
    voice = load_voice(trainer.write_voice())
    torch.testing.assert_close(voice.model.state_dict(), load_checkpoint(path)["model"], rtol=0, atol=0)
    assert (voice.step, trainer.state.progress.best_score) == (2, 0.9)


def test_voice_has_the_current_weights_without_any_score(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**QUIET))
    trainer.fit(RunLimits(max_steps=2))
    voice = load_voice(trainer.write_voice())
    torch.testing.assert_close(voice.model.state_dict(), trainer.state.model.state_dict(), rtol=0, atol=0)
    assert voice.step == 2
