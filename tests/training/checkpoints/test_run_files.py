"""Utterances kept out of training."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hparams import UserError
from reports import TrainerOrder
from tests.tiny import tiny_hparams
from tests.training.steered import ALL_SAVED, SteeringObserver, steered
from training.checkpoints.run_files import QUARANTINE_FILE, add_to_quarantine, read_quarantine
from training.run_state import RunLimits


def test_what_was_added_is_read_back_with_the_step_it_was_first_found_at(tmp_path: Path) -> None:
    assert read_quarantine(tmp_path) == {}
    add_to_quarantine(tmp_path, ["b", "каждый"], step=7)
    add_to_quarantine(tmp_path, ["a", "b"], step=9)
    assert read_quarantine(tmp_path) == {"b": 7, "каждый": 7, "a": 9}
    assert "каждый" in (tmp_path / QUARANTINE_FILE).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [QUARANTINE_FILE]


@pytest.mark.parametrize("content", ['{"a": 1', "[]", '{"a": "b"}', '"a"', "null", '{"a": 1.5}'])
def test_a_file_that_was_edited_badly_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / QUARANTINE_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="quarantine.json: .*correct or remove it"):
        read_quarantine(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / QUARANTINE_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="quarantine.json: is not valid JSON"):
        read_quarantine(tmp_path)


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_to_quarantine(tmp_path, ["a"], step=1)

    def broken(source: object, target: object) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="input/output error"):
        add_to_quarantine(tmp_path, ["b"], step=2)
    assert read_quarantine(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [QUARANTINE_FILE]


def quarantine(*ids: str) -> TrainerOrder:
    return TrainerOrder("quarantine", utterances=ids)


def test_a_quarantined_utterance_is_met_no_more_at_once(tmp_path: Path) -> None:
    """Although the batches of the epoch were loaded ahead."""
    plain, watched = steered(tmp_path / "plain")
    plain.fit(RunLimits(max_steps=6))
    named = watched.ids[1][:1] + watched.ids[2][1:2]
    trainer, observer = steered(tmp_path / "steered", {1: [quarantine(*named)]})
    trainer.fit(RunLimits(max_steps=6))
    assert [set(ids) for ids in observer.ids] == [
        set(ids) - (set(named) if i else set()) for i, ids in enumerate(watched.ids)
    ]
    assert [r.epoch for r in observer.steps] == [0, 0, 0, 1, 1, 1]
    assert read_quarantine(trainer.state.folder) == dict.fromkeys(named, 1)


def test_a_batch_of_which_nothing_is_left_is_skipped(tmp_path: Path) -> None:
    plain, watched = steered(tmp_path / "plain")
    plain.fit(RunLimits(max_steps=3))
    trainer, observer = steered(tmp_path / "steered", {1: [quarantine(*watched.ids[1])]})
    trainer.fit(RunLimits(max_steps=2))
    assert observer.ids == [watched.ids[0], watched.ids[2]]
    assert (trainer.state.progress.epoch, trainer.state.progress.batch) == (0, 3)


def test_a_quarantine_and_a_repeated_step_leave_the_utterance_out_of_it(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path)
    trainer.fit(RunLimits(max_steps=1))
    bad = observer.ids[0][0]
    trainer, observer = steered(tmp_path, {1: [quarantine(bad), TrainerOrder("rerun_step")]})
    trainer.fit(RunLimits(max_steps=2))
    assert set(observer.ids[1]) == set(observer.ids[0]) - {bad}


def test_when_nothing_is_left_training_ends_and_says_why(tmp_path: Path) -> None:
    trainer, observer = steered(tmp_path)
    everyone = [example.utterance.id for example in trainer.state.data.train.examples]
    observer.after_step[2] = [quarantine(*everyone), TrainerOrder("race", step=1, arms=({}, {}), n_steps=2)]
    assert trainer.fit(RunLimits(max_steps=100)) == "every utterance to train on is quarantined"
    assert trainer.control.is_hopeless and len(observer.steps) == 2 and observer.races == []


def test_evaluations_and_checkpoints_stay_due(tmp_path: Path) -> None:
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 2})
    observer = SteeringObserver({2: [quarantine("u00-7"), TrainerOrder("fetch_faster")]})
    trainer, _ = steered(tmp_path, hparams=hparams, observer=observer)
    trainer.fit(RunLimits(max_steps=3))
    assert observer.events[:11] == [
        *("step 1", "before checkpoint", "after checkpoint"),
        *("step 2", "quarantine u00-7: ", "before evaluation", "evaluation 2", "before checkpoint", "after checkpoint"),
        *("step 3", "before checkpoint"),
    ]


def test_fetching_faster_changes_when_batches_come_and_not_which(tmp_path: Path) -> None:
    plain, watched = steered(tmp_path / "plain")
    plain.fit(RunLimits(max_steps=6))
    trainer, observer = steered(
        tmp_path / "faster", {1: [TrainerOrder("fetch_faster")], 4: [TrainerOrder("fetch_faster")]}
    )
    trainer.fit(RunLimits(max_steps=6))
    assert trainer.state.data.train.n_threads == 4
    assert observer.ids == watched.ids and observer.losses == watched.losses


def test_the_file_is_json_a_person_can_edit(tmp_path: Path) -> None:
    add_to_quarantine(tmp_path, ["a", "b"], step=3)
    content = json.loads((tmp_path / QUARANTINE_FILE).read_text(encoding="utf-8"))
    del content["a"]
    (tmp_path / QUARANTINE_FILE).write_text(json.dumps(content), encoding="utf-8")
    assert read_quarantine(tmp_path) == {"b": 3}
