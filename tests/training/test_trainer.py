"""The training loop: evaluations, checkpoints and the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from models.checkpoint_file import load_checkpoint
from speech.voice import load_voice
from tests.support.tiny import RecordingObserver, tiny_hparams, tiny_trainer
from training.checkpoints.checkpoint import list_checkpoints
from training.run_state import RunLimits

QUIET = {"iters_per_evaluation": 1000, "iters_per_checkpoint": 1000}


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
            if report.step == 2:
                limits.request_stop("SIGINT")

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


def test_a_lucky_evaluation_does_not_make_the_best_checkpoint(tmp_path: Path) -> None:
    observer = RecordingObserver(scores={1: 0.5, 2: 0.6, 3: 0.9, 4: 0.6, 5: 0.7, 6: 0.69, 7: 0.2})
    hparams = tiny_hparams(iters_per_checkpoint=1, iters_per_evaluation=1, keep_checkpoints=1)
    trainer, _ = tiny_trainer(tmp_path, hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=7))
    progress = trainer.state.progress
    assert (progress.best_step, progress.best_score) == (6, 0.7)  # steps 5 and 6 are as good: the newer one
    assert load_voice(tmp_path / "voice.safetensors").step == 6


def test_voice_has_the_current_weights_without_any_score(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, tiny_hparams(**QUIET))
    trainer.fit(RunLimits(max_steps=2))
    voice = load_voice(trainer.write_voice())
    torch.testing.assert_close(voice.model.state_dict(), trainer.state.model.state_dict(), rtol=0, atol=0)
    assert voice.step == 2
