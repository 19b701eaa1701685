"""What a run leaves in its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from commands.run.event_publisher import EventPublisher
from monitoring.journal.decoded_arrays import read_decoded
from monitoring.journal.journal import read_journal
from monitoring.journal.recorder import STEPS_PER_RECORD
from reports import CheckpointReport, SentenceReport
from tests.monitoring.measures.test_signals import Decode, Evaluation, Step
from tests.monitoring.recorders import open_recorder


def sentence(id_: str) -> SentenceReport:
    decode = Decode()
    return SentenceReport(id_, "Hello.", decode.symbol_ids, decode.free_attention, decode.free_mel, stopped=True)


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def test_steps_are_journalled_in_blocks_and_none_is_lost(publisher: EventPublisher, tmp_path: Path) -> None:
    for step in range(1, STEPS_PER_RECORD + 4):
        publisher.on_step(replace(Step(), step=step, total_loss=step / 3))
    publisher.on_save_start()
    blocks = [r for r in read_journal(tmp_path / "journal.jsonl") if r["kind"] == "steps"]
    assert [len(block["steps"]) for block in blocks] == [STEPS_PER_RECORD, 3]
    losses = [loss for block in blocks for loss in block["signals"]["total_loss"]]
    assert losses == [step / 3 for step in range(1, STEPS_PER_RECORD + 4)]


def spoken_ids(folder: Path) -> list[tuple[str, str]]:
    """Id and file of everything that the one evaluation left."""
    (path,) = (folder / "samples").iterdir()
    return [(spoken.id, spoken.file) for spoken in read_decoded(path)]


def test_an_evaluation_leaves_what_is_to_be_heard_and_says_where_it_will_be(
    publisher: EventPublisher, tmp_path: Path
) -> None:
    score = publisher.on_evaluation(Evaluation(step=7, sentences=(sentence("own-000"),)))
    assert score is not None and score > 0
    files = ["samples/step-00000007-a", "samples/step-00000007-own-000", "samples/worst/a"]
    assert spoken_ids(tmp_path) == [("a", files[0]), ("own-000", files[1]), ("a", files[2])]
    assert summary(tmp_path)["signals"]["composite_tts_score"] == score
    assert summary(tmp_path)["samples"] == [f"{file}.{kind}" for file in files[:2] for kind in ("wav", "png")]
    told = read_journal(tmp_path / "journal.jsonl")[-1]
    assert told["training_seconds"] == 2.5
    assert told["spoken"] == "samples/step-00000007.npz"
    assert [sample["file"] for sample in told["samples"]] == files
    assert [sample["recorded"] for sample in told["samples"]] == ["samples/recorded/a", None, "samples/recorded/a"]
    assert (told["samples"][0]["id"], told["samples"][0]["sentence"]) == ("a", "Hello.")


def test_what_was_spoken_comes_back_as_it_was(publisher: EventPublisher, tmp_path: Path) -> None:
    mel = np.linspace(-8, 1, 160, dtype=np.float32).reshape(4, 40)
    publisher.on_evaluation(Evaluation(step=7, decodes=(replace(Decode(), free_mel=mel, text="<b>\ud800 ё"),)))
    spoken = read_decoded(tmp_path / "samples" / "step-00000007.npz")[0]
    assert spoken.sentence == "<b>\ud800 ё" and spoken.symbols == ("a", "b", "c", "a", "b")
    np.testing.assert_array_equal(spoken.free_mel, mel)
    assert spoken.recorded_mel is not None and spoken.forced_mel is not None
    np.testing.assert_array_equal(spoken.free_attention, Decode().free_attention.astype(np.float32))


def test_each_utterance_is_told_with_its_own_signals(publisher: EventPublisher, tmp_path: Path) -> None:
    endless = replace(Decode(), id="b", stopped=False)
    publisher.on_evaluation(Evaluation(step=7, decodes=(Decode(), endless)))
    good, bad = read_journal(tmp_path / "journal.jsonl")[-1]["utterances"]
    assert (good["id"], good["text"], good["score"], good["gate"]) == ("a", "Hello.", 1.0, "gate_accuracy")
    assert (bad["id"], bad["stopped"], bad["score"]) == ("b", False, 0.0)


def test_the_same_few_utterances_are_kept_every_time_and_the_worst(publisher: EventPublisher, tmp_path: Path) -> None:
    bad = {id_: replace(Decode(), id=id_, stopped=False) for id_ in "ec"}
    decodes = tuple(bad.get(id_, replace(Decode(), id=id_)) for id_ in "edbca")
    publisher.on_evaluation(Evaluation(step=7, decodes=decodes))
    regular = [f"step-00000007-{id_}" for id_ in "ab"]
    assert [Path(file).name for _, file in spoken_ids(tmp_path)] == [*regular, "c", "e", "a"]


def test_nothing_is_left_where_nothing_is_to_be_heard(tmp_path: Path) -> None:
    silent = EventPublisher(open_recorder(tmp_path, n_samples=0))
    silent.on_evaluation(Evaluation(step=7))
    assert not (tmp_path / "samples").exists()
    assert "spoken" not in read_journal(tmp_path / "journal.jsonl")[-1]


def test_a_sample_that_is_not_finite_is_skipped_by_name(publisher: EventPublisher, tmp_path: Path) -> None:
    sick = replace(Decode(), id="b", free_mel=np.full((4, 40), np.nan))
    publisher.on_evaluation(Evaluation(step=7, decodes=(Decode(), sick)))
    assert {id_ for id_, _ in spoken_ids(tmp_path)} == {"a"}
    assert [r["utterance"] for r in read_journal(tmp_path / "journal.jsonl") if r["kind"] == "sample_skipped"] == ["b"]


def test_the_end_is_the_last_word(publisher: EventPublisher, tmp_path: Path) -> None:
    publisher.on_step(Step())
    latest = tmp_path / "checkpoints" / "x.pt"
    latest.parent.mkdir()
    latest.write_bytes(b"weights")
    publisher.on_checkpoint(CheckpointReport(7, latest, tmp_path / "checkpoints" / "y.pt", [7]))
    record = publisher.recorder
    assert record.is_running
    record.finish(status="finished", reason="epochs")
    assert not record.is_running
    assert [r["kind"] for r in read_journal(tmp_path / "journal.jsonl")] == ["checkpoint", "steps", "finished"]
    ended = summary(tmp_path)
    assert (ended["status"], ended["reason"], ended["step"]) == ("finished", "epochs", 7)
    assert ended["best_checkpoint"] == "checkpoints/y.pt"


def test_memory_goes_through_a_checkpoint(publisher: EventPublisher) -> None:
    publisher.on_step(Step())
    state = publisher.state_dict()
    publisher.on_step(replace(Step(), step=8, loss_parts={"mel_loss": 99.0}))
    publisher.load_state_dict(state)
    assert publisher.recorder.history.latest()["mel_loss"] == Step().loss_parts["mel_loss"]
