"""Resuming from a saved state, and branching off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint_file import load_checkpoint
from reports import TrainerOrder
from speech.voice import load_voice
from tests.support.tiny import RecordingObserver, tiny_data, tiny_hparams, tiny_trainer
from tests.training.test_step_runner import assert_same, first_batch, learned_state
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

QUIET = {"iters_per_evaluation": 1000, "iters_per_checkpoint": 1000}


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
    trainer.state.load_state_dict(load_checkpoint(path))
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
    trainer.state.load_state_dict(load_checkpoint(path))
    assert (trainer.state.progress.step, trainer.state.progress.epoch, trainer.state.progress.batch) == (5, 1, 0)


def test_resume_keeps_turned_knobs_and_applies_changed_settings(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams())
    trainer.state.knobs.learning_rate_multiplier, trainer.state.knobs.guide_sigma = 0.25, 0.7
    trainer.state.knobs.grad_clip_thresh = 0.5
    state = load_checkpoint(trainer.state.save())
    resumed, _ = tiny_trainer(tmp_path, tiny_hparams(grad_clip_thresh=3.0, weight_decay=0.01))
    resumed.state.load_state_dict(state)
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
    resumed.state.load_state_dict(state)
    assert {**resumed.state.optimizer.param_groups[0], "params": None} == settings
    assert resumed.state.optimizer.state_dict()["state"][0]["step"] == 1
    resumed.train_step(first_batch(resumed))


def test_resume_keeps_what_was_ordered_for_a_full_disk_and_slow_loading(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(keep_checkpoints=5))
    for order in (TrainerOrder("keep_fewer_checkpoints"), TrainerOrder("fetch_faster")):
        trainer.control.execute(order)
    state = load_checkpoint(trainer.state.save())

    resumed, _ = tiny_trainer(tmp_path, tiny_hparams(keep_checkpoints=5))
    resumed.state.load_state_dict(state)
    assert (resumed.state.keep_checkpoints, resumed.state.data.train.n_threads) == (1, 2)

    with_another_number, _ = tiny_trainer(tmp_path, tiny_hparams(keep_checkpoints=3))
    with_another_number.state.load_state_dict(state)
    assert with_another_number.state.keep_checkpoints == 3


def test_branch_does_not_inherit_a_best_voice_that_is_not_in_its_folder(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=1)
    first, observer = tiny_trainer(tmp_path / "a", hparams, observer=RecordingObserver({1: 0.9}))
    first.fit(RunLimits(max_steps=1))
    branch, _ = tiny_trainer(tmp_path / "b", hparams, observer=RecordingObserver({2: 0.5, 3: 0.4}))
    branch.state.load_state_dict(load_checkpoint(observer.checkpoints[-1][0]))
    branch.fit(RunLimits(max_steps=3))
    assert (branch.state.progress.best_step, branch.state.progress.best_score) == (2, 0.5)
    assert load_voice(branch.write_voice()).step == 2


def test_limits_of_several_trainings_are_their_own_but_share_a_request_to_stop() -> None:
    limits = RunLimits()
    trial = replace(limits, max_steps=3)
    limits.request_stop("SIGTERM")
    assert trial.stop == "SIGTERM" and limits.max_steps is None
