"""Files that a recorder writes: journal, summary.json and decoded samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from commands.run.event_publisher import EventPublisher
from monitoring.journal.decoded_arrays import read_decoded
from monitoring.journal.journal import read_journal
from monitoring.journal.recorder import STEPS_PER_RECORD
from monitoring.journal.summary import read_summary
from reports import CheckpointReport, SentenceReport
from tests.monitoring.measures.sample_reports import make_decode, make_evaluation, make_step
from tests.monitoring.recorders import open_recorder


def read_run(folder: Path) -> list[dict[str, Any]]:
    return read_journal(folder / "journal.jsonl")


def sample_files(folder: Path) -> list[tuple[str, str]]:
    """Id and file of every sample of the only evaluation."""
    (path,) = (folder / "samples").iterdir()
    return [(sample.id, sample.file) for sample in read_decoded(path)]


def test_steps_are_journalled_in_blocks_and_flushed_before_a_checkpoint(
    publisher: EventPublisher, tmp_path: Path
) -> None:
    for step in range(1, STEPS_PER_RECORD + 4):
        publisher.on_step(make_step(step=step, total_loss=step / 3))
    publisher.on_save_start()
    blocks = [record for record in read_run(tmp_path) if record["kind"] == "steps"]
    assert [len(block["steps"]) for block in blocks] == [STEPS_PER_RECORD, 3]
    losses = [loss for block in blocks for loss in block["signals"]["total_loss"]]
    assert losses == [step / 3 for step in range(1, STEPS_PER_RECORD + 4)]


def test_an_evaluation_is_journalled_with_the_places_of_its_samples(publisher: EventPublisher, tmp_path: Path) -> None:
    decode = make_decode()
    sentence = SentenceReport(
        id="own-000",
        text="Hello.",
        symbol_ids=decode.symbol_ids,
        free_attention=decode.free_attention,
        free_mel=decode.free_mel,
        stopped=True,
    )
    score = publisher.on_evaluation(make_evaluation(step=7, sentences=(sentence,)))
    assert score is not None and score > 0
    files = ["samples/step-00000007-a", "samples/step-00000007-own-000", "samples/worst/a"]
    assert sample_files(tmp_path) == [("a", files[0]), ("own-000", files[1]), ("a", files[2])]
    assert read_summary(tmp_path)["signals"]["composite_tts_score"] == score
    assert read_summary(tmp_path)["samples"] == [f"{file}.{kind}" for file in files[:2] for kind in ("wav", "png")]
    record = read_run(tmp_path)[-1]
    assert record["training_seconds"] == 2.5
    assert record["spoken"] == "samples/step-00000007.npz"
    assert [sample["file"] for sample in record["samples"]] == files
    assert [sample["recorded"] for sample in record["samples"]] == ["samples/recorded/a", None, "samples/recorded/a"]
    assert (record["samples"][0]["id"], record["samples"][0]["sentence"]) == ("a", "Hello.")


def test_decoded_samples_are_read_back_unchanged(publisher: EventPublisher, tmp_path: Path) -> None:
    mel = np.linspace(-8, 1, 160, dtype=np.float32).reshape(4, 40)
    decode = make_decode(free_mel=mel, text="<b>\ud800 ё")
    publisher.on_evaluation(make_evaluation(step=7, decodes=(decode,)))
    sample = read_decoded(tmp_path / "samples" / "step-00000007.npz")[0]
    assert sample.sentence == "<b>\ud800 ё" and sample.symbols == ("a", "b", "c", "a", "b")
    np.testing.assert_array_equal(sample.free_mel, mel)
    assert sample.recorded_mel is not None and sample.forced_mel is not None
    np.testing.assert_array_equal(sample.free_attention, decode.free_attention.astype(np.float32))


def test_each_utterance_is_journalled_with_its_own_signals(publisher: EventPublisher, tmp_path: Path) -> None:
    endless = make_decode(id="b", stopped=False)
    publisher.on_evaluation(make_evaluation(step=7, decodes=(make_decode(), endless)))
    good, bad = read_run(tmp_path)[-1]["utterances"]
    assert (good["id"], good["text"], good["score"], good["gate"]) == ("a", "Hello.", 1.0, "gate_accuracy")
    assert (bad["id"], bad["stopped"], bad["score"]) == ("b", False, 0.0)


def test_samples_are_the_first_utterances_by_id_and_the_worst(publisher: EventPublisher, tmp_path: Path) -> None:
    decodes = tuple(make_decode(id=id_, stopped=id_ not in "ec") for id_ in "edbca")
    publisher.on_evaluation(make_evaluation(step=7, decodes=decodes))
    regular = [f"step-00000007-{id_}" for id_ in "ab"]
    assert [Path(file).name for _, file in sample_files(tmp_path)] == [*regular, "c", "e", "a"]


def test_without_samples_nothing_is_written_for_them(tmp_path: Path) -> None:
    publisher = EventPublisher(open_recorder(tmp_path, n_samples=0))
    publisher.on_evaluation(make_evaluation(step=7))
    assert not (tmp_path / "samples").exists()
    assert "spoken" not in read_run(tmp_path)[-1]


def test_a_nonfinite_sample_is_skipped_and_journalled(publisher: EventPublisher, tmp_path: Path) -> None:
    nonfinite = make_decode(id="b", free_mel=np.full((4, 40), np.nan))
    publisher.on_evaluation(make_evaluation(step=7, decodes=(make_decode(), nonfinite)))
    assert {id_ for id_, _ in sample_files(tmp_path)} == {"a"}
    assert [record["utterance"] for record in read_run(tmp_path) if record["kind"] == "sample_skipped"] == ["b"]


def test_finishing_writes_the_last_steps_and_the_status(publisher: EventPublisher, tmp_path: Path) -> None:
    publisher.on_step(make_step())
    latest = tmp_path / "checkpoints" / "x.pt"
    latest.parent.mkdir()
    latest.write_bytes(b"weights")
    publisher.on_checkpoint(CheckpointReport(7, latest, tmp_path / "checkpoints" / "y.pt", [7]))
    recorder = publisher.recorder
    assert recorder.is_running
    recorder.finish(status="finished", reason="epochs")
    assert not recorder.is_running
    assert [record["kind"] for record in read_run(tmp_path)] == ["checkpoint", "steps", "finished"]
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["reason"], summary["step"]) == ("finished", "epochs", 7)
    assert summary["best_checkpoint"] == "checkpoints/y.pt"


def test_the_signal_history_is_restored_from_a_checkpoint(publisher: EventPublisher) -> None:
    publisher.on_step(make_step())
    state = publisher.state_dict()
    publisher.on_step(make_step(step=8, loss_parts={"mel_loss": 99.0}))
    publisher.load_state_dict(state)
    assert publisher.recorder.history.latest()["mel_loss"] == make_step().loss_parts["mel_loss"]
