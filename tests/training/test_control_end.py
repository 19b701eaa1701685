"""Orders that look through the data or end training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from corpus.utterances import Utterance
from reports import TrainerOrder
from tests.tiny import tacotron, tiny_data, tiny_hparams, tiny_mel
from tests.training.steered import SteeringObserver, saved_steps, steered
from training.checkpoints.run_files import read_quarantine
from training.run_state import RunLimits

BROKEN = {"u01-12", "u03-9"}


def sometimes_broken(utterance: Utterance) -> np.ndarray:
    mel = tiny_mel(utterance)
    return np.full_like(mel, np.nan) if utterance.id in BROKEN else mel


def test_screening_quarantines_every_recording_that_is_not_finite(tmp_path: Path) -> None:
    hparams = tiny_hparams()
    data = tiny_data(hparams, sometimes_broken)
    trainer, observer = steered(tmp_path, {1: [TrainerOrder("screen")]}, hparams=hparams, data=data)
    trainer.fit(RunLimits(max_steps=6))
    assert data.train.quarantined == BROKEN == read_quarantine(tmp_path).keys()
    assert f"quarantine {', '.join(sorted(BROKEN))}: not finite" in observer.events
    assert not BROKEN & {id_ for ids in observer.ids[1:] for id_ in ids}


def test_screening_of_sound_recordings_changes_nothing(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path / "a", {1: [TrainerOrder("screen")]})
    trainer.fit(RunLimits(max_steps=4))
    other, undisturbed = steered(tmp_path / "b")
    other.fit(RunLimits(max_steps=4))
    assert observer.losses == undisturbed.losses
    assert read_quarantine(tmp_path / "a") == {}


def test_finishing_goes_back_to_the_best_and_evaluates_it_again(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_evaluation=2, iters_per_checkpoint=2, keep_checkpoints=1)
    scores: dict[int, float | None] = {2: 0.5, 4: 0.9, 6: 0.3, 8: 0.2}
    observer = SteeringObserver({8: [TrainerOrder("finish", reason="worse and worse")]}, scores=scores)
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    weights: dict[int, Any] = {}
    remember = observer.on_evaluation

    def on_evaluation(report: Any) -> float | None:
        weights[report.step] = tacotron(trainer).embedding.weight.detach().clone()
        return remember(report)

    observer.on_evaluation = on_evaluation  # type: ignore[method-assign]
    assert trainer.fit(RunLimits()) == "worse and worse"
    assert trainer.state.progress.step == 4 and not trainer.control.is_hopeless
    assert torch.equal(tacotron(trainer).embedding.weight, weights[4])
    assert observer.events[-1] != "evaluation 8" and "rollback to 4" in observer.events
    assert [event for event in observer.events if event.startswith("evaluation")][-1] == "evaluation 4"
    assert saved_steps(trainer) == [4]


def test_finishing_without_a_best_ends_where_it_is(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path, {3: [TrainerOrder("finish", reason="enough")]})
    assert trainer.fit(RunLimits()) == "enough"
    assert trainer.state.progress.step == 3 and observer.rollbacks == []
