"""Orders that exclude utterances from training or change the loading of data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corpus.utterances import Utterance
from reports import TrainerOrder
from tests.support.tiny import tiny_data, tiny_hparams, tiny_mel
from tests.training.orders import ALL_SAVED, OrderingObserver, train_with_orders, trainer_with_orders
from training.checkpoints.json_files import read_quarantine
from training.control import MAX_LOADER_THREADS
from training.run_state import RunLimits

NAN_UTTERANCES = {"u01-12", "u03-9"}


def quarantine(*ids: str) -> TrainerOrder:
    return TrainerOrder("quarantine", utterances=ids)


def test_quarantine_takes_effect_at_once_although_batches_were_prefetched(tmp_path: Path) -> None:
    reference, expected = train_with_orders(tmp_path / "reference", max_steps=6)
    excluded = expected.ids[1][:1] + expected.ids[2][1:2]
    trainer, observer = train_with_orders(tmp_path / "quarantine", {1: [quarantine(*excluded)]}, max_steps=6)
    assert [set(ids) for ids in observer.ids] == [
        set(ids) - (set(excluded) if i else set()) for i, ids in enumerate(expected.ids)
    ]
    assert [r.epoch for r in observer.steps] == [0, 0, 0, 1, 1, 1]
    assert read_quarantine(trainer.state.folder) == dict.fromkeys(excluded, 1)


def test_released_utterances_are_used_from_the_next_step_on(tmp_path: Path) -> None:
    reference, expected = train_with_orders(tmp_path / "reference", max_steps=6)
    excluded = expected.ids[1][0]
    orders = {1: [quarantine(excluded)], 3: [TrainerOrder("release", utterances=(excluded,))]}
    trainer, observer = train_with_orders(tmp_path / "released", orders, max_steps=6)
    used = [step for step, ids in enumerate(observer.ids, start=1) if excluded in ids]
    assert [step for step in used if step <= 3] == [] and [step for step in used if step > 3] != []
    assert read_quarantine(trainer.state.folder) == {}


def test_batch_without_remaining_utterances_is_skipped(tmp_path: Path) -> None:
    reference, expected = train_with_orders(tmp_path / "reference", max_steps=3)
    trainer, observer = train_with_orders(tmp_path / "quarantine", {1: [quarantine(*expected.ids[1])]}, max_steps=2)
    assert observer.ids == [expected.ids[0], expected.ids[2]]
    assert (trainer.state.progress.epoch, trainer.state.progress.batch) == (0, 3)


def test_repeated_step_excludes_an_utterance_quarantined_after_it(tmp_path: Path) -> None:
    trainer, observer = train_with_orders(tmp_path, max_steps=1)
    excluded = observer.ids[0][0]
    trainer, observer = train_with_orders(
        tmp_path, {1: [quarantine(excluded), TrainerOrder("rerun_step")]}, max_steps=2
    )
    assert set(observer.ids[1]) == set(observer.ids[0]) - {excluded}


def test_training_ends_with_a_reason_when_all_utterances_are_quarantined(tmp_path: Path) -> None:
    trainer, observer = trainer_with_orders(tmp_path)
    all_ids = [example.utterance.id for example in trainer.state.data.train.examples]
    observer.after_step[2] = [quarantine(*all_ids), TrainerOrder("race", step=1, arms=({}, {}), n_steps=2)]
    assert trainer.fit(RunLimits(max_steps=100)) == "every utterance to train on is quarantined"
    assert trainer.control.is_hopeless and len(observer.steps) == 2 and observer.races == []


def test_evaluation_and_checkpoint_stay_due_after_data_orders(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 2})
    observer = OrderingObserver({2: [quarantine("u00-7"), TrainerOrder("fetch_faster")]})
    train_with_orders(tmp_path, hparams=hparams, observer=observer, max_steps=3)
    assert observer.events[:11] == [
        *("step 1", "before checkpoint", "after checkpoint"),
        *("step 2", "quarantine u00-7: ", "before evaluation", "evaluation 2", "before checkpoint", "after checkpoint"),
        *("step 3", "before checkpoint"),
    ]


def test_fetching_faster_does_not_change_the_batches(tmp_path: Path) -> None:
    reference, expected = train_with_orders(tmp_path / "reference", max_steps=6)
    orders = {1: [TrainerOrder("fetch_faster")], 4: [TrainerOrder("fetch_faster")]}
    trainer, observer = train_with_orders(tmp_path / "faster", orders, max_steps=6)
    assert trainer.state.data.train.n_threads == 4
    assert observer.ids == expected.ids and observer.losses == expected.losses


def test_fetching_faster_has_a_limit(tmp_path: Path) -> None:
    trainer, _ = trainer_with_orders(tmp_path)
    for _ in range(10):
        trainer.control.execute(TrainerOrder("fetch_faster"))
    assert trainer.state.data.train.n_threads == MAX_LOADER_THREADS


def load_partly_nan(utterance: Utterance) -> np.ndarray:
    mel = tiny_mel(utterance)
    return np.full_like(mel, np.nan) if utterance.id in NAN_UTTERANCES else mel


def test_screening_quarantines_every_recording_that_is_not_finite(tmp_path: Path) -> None:
    hparams = tiny_hparams()
    data = tiny_data(hparams, load_partly_nan)
    _, observer = train_with_orders(tmp_path, {1: [TrainerOrder("screen")]}, hparams=hparams, data=data, max_steps=6)
    assert data.train.quarantined == NAN_UTTERANCES == read_quarantine(tmp_path).keys()
    assert f"quarantine {', '.join(sorted(NAN_UTTERANCES))}: not finite" in observer.events
    assert not NAN_UTTERANCES & {id_ for ids in observer.ids[1:] for id_ in ids}


def test_screening_of_finite_recordings_changes_nothing(tmp_path: Path) -> None:
    _, observer = train_with_orders(tmp_path / "screened", {1: [TrainerOrder("screen")]}, max_steps=4)
    reference, expected = train_with_orders(tmp_path / "reference", max_steps=4)
    assert observer.losses == expected.losses
    assert read_quarantine(tmp_path / "screened") == {}
