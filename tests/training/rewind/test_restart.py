"""Restarts: fresh weights within the same run, also with an amended recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.checkpoint_file import load_checkpoint
from reports import TrainerOrder
from speech.voice import load_voice
from tests.support.tiny import tacotron, tiny_hparams
from tests.training.orders import (
    ALL_SAVED,
    OrderingObserver,
    comparable_state,
    differences,
    saved_path,
    saved_steps,
    train_with_orders,
    trainer_with_orders,
)
from training.checkpoints.json_files import apply_amendments
from training.run_state import RunLimits
from training.schedule import ScheduleClock


def test_restart_draws_fresh_weights_and_continues_the_step_count(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED, warmup_steps=4)
    order = TrainerOrder("restart", {"learning_rate_multiplier": 0.5, "gate_threshold": 0.3})
    trainer, observer = trainer_with_orders(tmp_path, {5: [order]}, hparams=hparams)
    fresh = {name: weight.clone() for name, weight in trainer.state.model.state_dict().items()}
    trainer.fit(RunLimits(max_steps=8))
    assert [(r.step, r.epoch) for r in observer.steps[5:]] == [(6, 0), (7, 0), (8, 0)]
    assert observer.ids[5:] == observer.ids[:3]
    assert [r.learning_rate for r in observer.steps[5:]] == pytest.approx([0.125e-2, 0.25e-2, 0.375e-2])
    assert trainer.state.clock == ScheduleClock(origin_step=5) and tacotron(trainer).decoder.gate_threshold == 0.3
    assert trainer.state.optimizer.state_dict()["state"][0]["step"] == 3
    restarted = load_checkpoint(saved_path(trainer, 5))
    assert restarted["optimizer"]["state"] == {} and restarted["progress"]["epoch"] == 0
    assert not torch.equal(restarted["model"]["embedding.weight"], fresh["embedding.weight"])
    assert (restarted["model"]["postnet.convolutions.0.1.running_mean"] == 0).all()
    for step in (5, 6):
        resumed, resumed_observer = train_with_orders(
            tmp_path / f"resumed-{step}", hparams=hparams, start=saved_path(trainer, step), max_steps=8
        )
        assert resumed_observer.losses == observer.losses[step:]
        assert differences(comparable_state(resumed), comparable_state(trainer)) == []


def test_restarts_begin_with_different_weights(tmp_path: Path) -> None:
    trainer, _ = train_with_orders(tmp_path, {1: [TrainerOrder("restart")], 2: [TrainerOrder("restart")]}, max_steps=2)
    weights = [load_checkpoint(saved_path(trainer, step))["model"]["embedding.weight"] for step in (1, 2)]
    assert not torch.equal(*weights)


def test_best_of_an_earlier_attempt_stays_the_best_until_exceeded(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=2, keep_checkpoints=1)
    observer = OrderingObserver({3: [TrainerOrder("restart")]}, scores={2: 0.5, 4: 0.4, 6: 0.6})
    trainer, _ = train_with_orders(tmp_path, hparams=hparams, observer=observer, max_steps=5)
    assert trainer.state.progress.best_step == 2 and saved_steps(trainer) == [2, 5]
    assert load_voice(trainer.write_voice()).step == 2
    trainer.fit(RunLimits(max_steps=6))
    assert load_voice(trainer.write_voice()).step == 6 and saved_steps(trainer) == [6]


def test_restart_with_a_larger_reduction_factor_trains_and_resumes(tmp_path: Path) -> None:
    order = TrainerOrder("restart", knobs={"learning_rate_multiplier": 0.5}, hparams={"n_frames_per_step": 4})
    observer = OrderingObserver({2: [order]}, scores={6: 0.5})
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 6})
    trainer, _ = train_with_orders(tmp_path, hparams=hparams, observer=observer, max_steps=6)
    assert trainer.state.hparams.n_frames_per_step == 4 and tacotron(trainer).decoder.r == 4
    assert observer.evaluations[-1].decodes[0].n_frames_per_step == 4
    assert load_voice(trainer.write_voice()).hparams.n_frames_per_step == 4
    resumed, _ = trainer_with_orders(tmp_path, hparams=apply_amendments(tmp_path, hparams))
    resumed.state.load_state_dict(load_checkpoint(saved_path(trainer, 6)))
    resumed.fit(RunLimits(max_steps=8))
    assert resumed.state.progress.step == 8


def test_best_voice_before_the_restart_is_written_with_its_own_recipe(tmp_path: Path) -> None:
    order = TrainerOrder("restart", hparams={"n_frames_per_step": 4})
    observer = OrderingObserver({3: [order]}, scores={2: 0.9, 4: 0.1})
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 2})
    trainer, _ = train_with_orders(tmp_path, hparams=hparams, observer=observer, max_steps=4)
    voice = load_voice(trainer.write_voice())
    assert (voice.step, voice.hparams.n_frames_per_step) == (2, 2)


def test_a_rollback_never_goes_beyond_a_restart(tmp_path: Path) -> None:
    orders = {3: [TrainerOrder("restart", hparams={"n_frames_per_step": 4})], 4: [TrainerOrder("roll_back", step=4)]}
    trainer, observer = trainer_with_orders(tmp_path, orders, hparams=tiny_hparams(**ALL_SAVED))
    observer.after_step[5] = [TrainerOrder("roll_back", step=2)]
    trainer.fit(RunLimits(max_steps=6))
    assert [report.step for report in observer.rollbacks] == [3, None]  # 3: written by the restart
    assert tacotron(trainer).decoder.r == 4
