"""A recipe that had to change for a run to go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hparams import UserError
from models.checkpoint_file import load_checkpoint
from reports import TrainerOrder
from speech.voice import load_voice
from tests.tiny import tacotron, tiny_hparams
from tests.training.steered import ALL_SAVED, SteeringObserver, saved_path, steered
from training.checkpoints.run_files import AMENDMENTS_FILE, add_amendments, apply_amendments
from training.run_state import RunLimits


def test_an_amendment_is_kept_and_those_before_it_too(tmp_path: Path) -> None:
    hparams = tiny_hparams()
    assert apply_amendments(tmp_path, hparams) is hparams
    assert add_amendments(tmp_path, hparams, {"n_frames_per_step": 4}).n_frames_per_step == 4
    for changed in (add_amendments(tmp_path, hparams, {"weight_decay": 0.25}), apply_amendments(tmp_path, hparams)):
        assert (changed.n_frames_per_step, changed.weight_decay) == (4, 0.25)


@pytest.mark.parametrize("content", ["[1]", "{", '{"n_frames_per_step": 99}', '{"nonsense": 1}'])
def test_a_spoilt_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / AMENDMENTS_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError):
        apply_amendments(tmp_path, tiny_hparams())


def test_a_restart_with_a_larger_reduction_factor_trains_speaks_and_can_be_gone_on_from(tmp_path: Path) -> None:
    order = TrainerOrder("restart", knobs={"learning_rate_multiplier": 0.5}, hparams={"n_frames_per_step": 4})
    observer = SteeringObserver({2: [order]}, scores={6: 0.5})
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 6})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=6))
    assert trainer.state.hparams.n_frames_per_step == 4 and tacotron(trainer).decoder.r == 4
    assert observer.evaluations[-1].decodes[0].n_frames_per_step == 4
    assert load_voice(trainer.write_voice()).hparams.n_frames_per_step == 4
    resumed, _ = steered(tmp_path, hparams=apply_amendments(tmp_path, hparams))
    resumed.load_state_dict(load_checkpoint(saved_path(trainer, 6)))
    resumed.fit(RunLimits(max_steps=8))
    assert resumed.state.progress.step == 8


def test_the_best_voice_of_before_is_written_with_its_own_recipe(tmp_path: Path) -> None:
    order = TrainerOrder("restart", hparams={"n_frames_per_step": 4})
    observer = SteeringObserver({3: [order]}, scores={2: 0.9, 4: 0.1})
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 2})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=4))
    voice = load_voice(trainer.write_voice())
    assert (voice.step, voice.hparams.n_frames_per_step) == (2, 2)
