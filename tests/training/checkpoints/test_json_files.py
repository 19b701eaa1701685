"""JSON files of a run that a person may edit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hparams import UserError
from tests.support.tiny import tiny_hparams
from training.checkpoints.json_files import (
    AMENDMENTS_FILE,
    CHOICES_FILE,
    QUARANTINE_FILE,
    add_amendments,
    add_to_quarantine,
    apply_amendments,
    read_choices,
    read_quarantine,
    remove_from_quarantine,
    write_choices,
)


def test_choices_are_read_back(tmp_path: Path) -> None:
    assert read_choices(tmp_path) == {}
    write_choices(tmp_path, {"precision": "bfloat16", "max_frames_per_batch": 1000})
    assert read_choices(tmp_path) == {"precision": "bfloat16", "max_frames_per_batch": 1000}


@pytest.mark.parametrize("content", ["{", "[1]", '{"precision": "float8"}', '{"unknown": 1}'])
def test_invalid_choices_are_rejected_with_the_file_name(tmp_path: Path, content: str) -> None:
    (tmp_path / CHOICES_FILE).write_text(content)
    with pytest.raises(UserError, match=rf"{CHOICES_FILE}: (expected settings of hparams.py|is not valid JSON)"):
        read_choices(tmp_path)


def test_amendments_accumulate(tmp_path: Path) -> None:
    hparams = tiny_hparams()
    assert apply_amendments(tmp_path, hparams) is hparams
    assert add_amendments(tmp_path, hparams, {"n_frames_per_step": 4}).n_frames_per_step == 4
    for amended in (add_amendments(tmp_path, hparams, {"weight_decay": 0.25}), apply_amendments(tmp_path, hparams)):
        assert (amended.n_frames_per_step, amended.weight_decay) == (4, 0.25)


@pytest.mark.parametrize("content", ["[1]", "{", '{"n_frames_per_step": 99}', '{"nonsense": 1}'])
def test_invalid_amendments_are_rejected(tmp_path: Path, content: str) -> None:
    (tmp_path / AMENDMENTS_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError):
        apply_amendments(tmp_path, tiny_hparams())


def test_quarantine_keeps_the_first_step_of_each_utterance(tmp_path: Path) -> None:
    assert read_quarantine(tmp_path) == {}
    add_to_quarantine(tmp_path, ["b", "каждый"], step=7)
    add_to_quarantine(tmp_path, ["a", "b"], step=9)
    assert read_quarantine(tmp_path) == {"b": 7, "каждый": 7, "a": 9}
    assert "каждый" in (tmp_path / QUARANTINE_FILE).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [QUARANTINE_FILE]


def test_quarantine_can_be_edited_by_a_person(tmp_path: Path) -> None:
    add_to_quarantine(tmp_path, ["a", "b"], step=3)
    content = json.loads((tmp_path / QUARANTINE_FILE).read_text(encoding="utf-8"))
    del content["a"]
    (tmp_path / QUARANTINE_FILE).write_text(json.dumps(content), encoding="utf-8")
    assert read_quarantine(tmp_path) == {"b": 3}


@pytest.mark.parametrize("content", ['{"a": 1', "[]", '{"a": "b"}', '"a"', "null", '{"a": 1.5}'])
def test_invalid_quarantine_is_rejected_with_the_file_name(tmp_path: Path, content: str) -> None:
    (tmp_path / QUARANTINE_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="quarantine.json: .*correct or remove it"):
        read_quarantine(tmp_path)


def test_file_that_is_not_text_is_rejected_with_its_name(tmp_path: Path) -> None:
    (tmp_path / QUARANTINE_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="quarantine.json: is not valid JSON"):
        read_quarantine(tmp_path)


def test_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_to_quarantine(tmp_path, ["a"], step=1)

    def fail(source: object, target: object) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="input/output error"):
        add_to_quarantine(tmp_path, ["b"], step=2)
    assert read_quarantine(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [QUARANTINE_FILE]


def test_released_utterances_are_trained_on_again(tmp_path: Path) -> None:
    add_to_quarantine(tmp_path, ["a", "b", "c"], step=3)
    remove_from_quarantine(tmp_path, ["b", "unknown"])
    assert read_quarantine(tmp_path) == {"a": 3, "c": 3}
