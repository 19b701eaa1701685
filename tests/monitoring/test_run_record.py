"""What a run leaves in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from monitoring.journal import read
from monitoring.run_record import STEPS_PER_RECORD, RunRecord
from tests.monitoring.test_signals import Decode, Step


@dataclass(frozen=True)
class Spoken(Decode):
    text: str = "Hello."
    symbol_ids: tuple[int, ...] = (1, 2, 3, 1, 2)


@dataclass(frozen=True)
class Report:
    decodes: tuple[Spoken, ...] = (Spoken(),)
    sentences: tuple[Spoken, ...] = ()
    losses: dict[str, float] = field(default_factory=lambda: {"val_total_loss": 0.5})
    step: int = 7
    epoch: int = 1
    training_seconds: float = 2.5


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def test_steps_are_journalled_in_blocks_and_none_is_lost(record: RunRecord, tmp_path: Path) -> None:
    for step in range(1, STEPS_PER_RECORD + 4):
        record.on_step(replace(Step(), step=step, total_loss=step / 3))
    record.before_checkpoint()
    blocks = [r for r in read(tmp_path / "journal.jsonl") if r["kind"] == "steps"]
    assert [len(block["steps"]) for block in blocks] == [STEPS_PER_RECORD, 3]
    losses = [loss for block in blocks for loss in block["signals"]["total_loss"]]
    assert losses == [step / 3 for step in range(1, STEPS_PER_RECORD + 4)]


def test_an_evaluation_leaves_sound_picture_summary_and_score(record: RunRecord, tmp_path: Path) -> None:
    score = record.on_evaluation(Report(sentences=(replace(Spoken(), id="own-000"),)))
    assert score is not None and score > 0
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    assert names == {f"step-00000007-{id_}.{kind}" for id_ in ("a", "own-000") for kind in ("wav", "png")}
    assert summary(tmp_path)["signals"]["composite_tts_score"] == score
    assert set(summary(tmp_path)["samples"]) == {f"samples/{name}" for name in names}
    assert read(tmp_path / "journal.jsonl")[-1]["training_seconds"] == 2.5


def test_the_same_few_utterances_are_kept_every_time(record: RunRecord, tmp_path: Path) -> None:
    decodes = tuple(replace(Spoken(), id=id_) for id_ in "dbca")
    record.on_evaluation(Report(decodes))
    assert {path.stem[-1] for path in (tmp_path / "samples").iterdir()} == {"a", "b"}


def test_a_sample_that_is_not_finite_is_skipped_by_name(record: RunRecord, tmp_path: Path) -> None:
    sick = replace(Spoken(), id="b", free_mel=np.full((4, 40), np.nan))
    record.on_evaluation(Report((Spoken(), sick)))
    assert {path.stem[-1] for path in (tmp_path / "samples").iterdir()} == {"a"}
    assert [r["utterance"] for r in read(tmp_path / "journal.jsonl") if r["kind"] == "sample_skipped"] == ["b"]


def test_the_end_is_the_last_word(record: RunRecord, tmp_path: Path) -> None:
    record.on_step(Step())
    latest = tmp_path / "checkpoints" / "x.pt"
    latest.parent.mkdir()
    latest.write_bytes(b"weights")
    record.after_checkpoint(latest=latest, best=tmp_path / "checkpoints" / "y.pt", kept=[7])
    assert record.is_running
    record.finish(status="finished", reason="epochs")
    assert not record.is_running
    assert [r["kind"] for r in read(tmp_path / "journal.jsonl")] == ["checkpoint", "steps", "finished"]
    ended = summary(tmp_path)
    assert (ended["status"], ended["reason"], ended["step"]) == ("finished", "epochs", 7)
    assert ended["best_checkpoint"] == "checkpoints/y.pt"


def test_memory_goes_through_a_checkpoint(record: RunRecord) -> None:
    record.on_step(Step())
    state = record.state_dict()
    record.on_step(replace(Step(), step=8, mel_loss=99.0))
    record.load_state_dict(state)
    assert record.history.latest()["mel_loss"] == Step().mel_loss
