"""TensorBoard reads back what was logged."""

from __future__ import annotations

import errno
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.tensorboard import SummaryWriter

from monitoring.exporters.tensorboard import TAGS, TensorBoardLog, tag_of
from monitoring.journal.tail import JournalTail
from monitoring.report.plots import save_png
from tests.monitoring.journals import FOLLOW_UP, RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm


def log(run: RunFolder) -> None:
    """Log the new part of the journal."""
    tail = JournalTail("tensorboard", run.path, lambda: TensorBoardLog(run.path), warn=pytest.fail)
    (run.path / "companion").mkdir(exist_ok=True)
    tail.finish_requested.set()
    tail.run()


def read_events(run: RunFolder) -> EventAccumulator:
    guidance = {"scalars": 0, "images": 0, "audio": 0, "tensors": 0}
    return EventAccumulator(str(run.path / "tensorboard"), size_guidance=guidance).Reload()


def scalars(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 6)) for event in read_events(run).Scalars(tag)]


def texts(run: RunFolder, tag: str) -> list[tuple[int, str]]:
    events = read_events(run).Tensors(f"{tag}/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in events]


def test_signals_become_scalars_by_group(run: RunFolder) -> None:
    run.steps(1, 2, mel_loss=4.0, update_ratio=None, memory_bytes=2.0**20)
    run.evaluation(2)
    log(run)
    assert scalars(run, "loss/mel_loss") == [(1, 4.0), (2, 4.0)]
    assert scalars(run, "loss/val_total_loss") == [(2, 1.0)]
    assert scalars(run, "gradients/gradient_norm") == [(1, 1.0), (2, 1.0)]
    assert scalars(run, "supervisor/learning_rate")[0] == (1, 1e-3)
    assert scalars(run, "attention/free_diagonality") == [(2, 0.8)]
    assert scalars(run, "gate/gate_accuracy") == [(2, 0.9)]
    assert scalars(run, "score/composite_tts_score") == [(2, 0.5)]
    assert "gradients/update_ratio" not in read_events(run).Tags()["scalars"]


def test_the_tag_of_a_signal_begins_with_its_group() -> None:
    assert tag_of("val_mel_loss") == "loss/val_mel_loss"
    assert tag_of("free_diagonality") == TAGS["free_diagonality"] == "attention/free_diagonality"
    assert tag_of("new_signal") == "more/new_signal"


def write_sample_files(run: RunFolder, file: str, samples: list[int]) -> np.ndarray:
    stem = run.path / file
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".wav", ".forced.wav"):
        write_pcm(stem.with_name(stem.name + suffix), samples, rate=8000)
    picture = np.random.default_rng(0).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    save_png(picture, stem.with_name(f"{stem.name}.png"))
    return picture


def test_samples_of_an_evaluation_are_images_and_audio(run: RunFolder) -> None:
    fields = run.write_samples(10)
    picture = write_sample_files(run, "samples/step-00000010-a", [0, 16384, -32767, 32767])
    write_sample_files(run, "samples/worst/a", [0, 1])
    run.evaluation(10, **fields)
    log(run)
    events = read_events(run)
    assert set(events.Tags()["images"]) == {"curves", "a/attention_and_mel"}
    assert set(events.Tags()["audio"]) == {"a/free_running", "a/teacher_forced"}
    image = events.Images("a/attention_and_mel")[0]
    assert (image.step, image.height, image.width) == (10, *picture.shape[:2])
    assert image.encoded_image_string == (run.path / "samples/step-00000010-a.png").read_bytes()
    (sound,) = events.Audio("a/free_running")
    with wave.open(io.BytesIO(sound.encoded_audio_string)) as reader:
        assert reader.getframerate() == 8000
        frames = np.frombuffer(reader.readframes(4), dtype="<i2")
    np.testing.assert_allclose(frames, [0, 16384, -32767, 32767], atol=1)


def test_a_sample_without_sound_has_only_an_image(run: RunFolder) -> None:
    fields = run.write_samples(1)
    write_sample_files(run, "samples/step-00000001-a", [7])
    for suffix in (".wav", ".forced.wav"):
        (run.path / f"samples/step-00000001-a{suffix}").unlink()
    run.evaluation(1, **fields)
    log(run)
    assert read_events(run).Tags()["audio"] == []
    assert "a/attention_and_mel" in read_events(run).Tags()["images"]


def test_decisions_are_logged_as_text(tmp_path: Path) -> None:
    run = sick_run(tmp_path / "run")
    run.journal.write("diagnosis", 60, ailment="<b>*x*</b>", severity="notice", since=1, evidence={})
    run.journal.write("intervention", 60, knob="guide_sigma", on_the_way_to=1.0, **{"from": 0.5, "to": 0.7})
    log(run)
    (intervention,) = texts(run, "supervisor/intervention")
    assert intervention[0] == 40 and intervention[1].startswith("lower the learning rate (loss spike).")
    ((step, follow_up),) = texts(run, "supervisor/follow_up")
    assert step == 60 and "helped" in follow_up
    assert texts(run, "supervisor/phase") == [(20, "pre-alignment → alignment (free-running diagonality 0.8)")]
    assert texts(run, "supervisor/diagnosis")[-1][1].startswith("\\<b\\>\\*x\\*\\</b\\>")


def test_hparams_are_logged_into_the_run_itself(run: RunFolder) -> None:
    run.evaluation(1)
    log(run)
    content = read_events(run).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert info.hparams["learning_rate"].number_value == 1e-3
    assert info.hparams["text_frontend"].string_value == "graphemes"
    assert [path.name for path in (run.path / "tensorboard").iterdir() if path.is_dir()] == []


def test_event_files_have_different_seconds_in_their_names(run: RunFolder) -> None:
    for step in (1, 2):
        run.start("resumed", step)
    log(run)
    names = [path.name.split(".")[3] for path in (run.path / "tensorboard").iterdir()]
    assert len(set(names)) == len(names) == 3


@pytest.mark.parametrize("at_once", [True, False])
def test_a_resume_hides_events_after_its_checkpoint(run: RunFolder, at_once: bool) -> None:
    run.steps(1, 5, mel_loss=1.0)
    if not at_once:
        log(run)
    run.start("resumed", 3)
    run.steps(4, 4, mel_loss=9.0)
    log(run)
    assert scalars(run, "loss/mel_loss") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 9.0)]


def test_a_rollback_hides_the_steps_it_undoes(run: RunFolder) -> None:
    run.steps(1, 5, mel_loss=1.0)
    run.journal.write("rolled_back", 2, to=2, wanted_step=2, problems=[])
    run.steps(3, 3, mel_loss=9.0)
    run.journal.write("rolled_back", 3, to=None, wanted_step=1, problems=[])
    run.steps(4, 4, mel_loss=9.0)
    log(run)
    assert scalars(run, "loss/mel_loss") == [(1, 1.0), (2, 1.0), (3, 9.0), (4, 9.0)]


def test_the_winning_arm_of_a_race_is_logged(run: RunFolder) -> None:
    run.steps(1, 5, mel_loss=1.0)
    run.race(5, from_step=2)
    run.steps(5, 6)
    log(run)
    assert scalars(run, "loss/total_loss") == [(1, 10.0), (2, 5.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 1.666667)]
    assert scalars(run, "ends/stop_rate") == [(4, 1.0)]


def test_a_later_session_adds_its_events(run: RunFolder) -> None:
    run.steps(1, 2, mel_loss=1.0)
    log(run)
    run.steps(3, 4, mel_loss=2.0)
    log(run)
    assert scalars(run, "loss/mel_loss") == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first two flushes of the writer fail; returns the failures left."""
    failures, flush = [1, 1], SummaryWriter.flush

    def fail_first(writer: Any) -> None:
        if failures:
            failures.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(writer)

    monkeypatch.setattr(SummaryWriter, "flush", fail_first)
    yield failures


def test_a_failed_write_is_retried(run: RunFolder, full_disk: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.journal.tail.FIRST_RETRY_SECONDS", 0.01)
    run.steps(1, 2, mel_loss=1.0)
    warnings: list[str] = []
    (run.path / "companion").mkdir()
    tail = JournalTail("tensorboard", run.path, lambda: TensorBoardLog(run.path), warn=warnings.append)
    tail.finish_requested.set()
    tail.run()
    run.steps(3, 3, mel_loss=2.0)
    log(run)
    assert full_disk == [] and len(warnings) == 1 and "No space left" in warnings[0]
    assert scalars(run, "loss/mel_loss")[-1] == (3, 2.0)


def test_a_follow_up_without_its_intervention_is_logged(run: RunFolder) -> None:
    run.journal.write("follow_up", 3, **FOLLOW_UP)
    log(run)
    assert len(texts(run, "supervisor/follow_up")) == 1


def test_decisions_of_the_watchdog_are_logged(run: RunFolder) -> None:
    evidence = {"last_step": 7, "signal": "SIGKILL"}
    fields = {"ailment": "process_died", "severity": "critical", "evidence": evidence, "by": "watchdog"}
    run.journal.write("diagnosis", 7, **fields)
    run.journal.write("intervention", 7, remedy="restart_process", from_checkpoint=5, by="watchdog")
    log(run)
    ((step, text),) = texts(run, "supervisor/diagnosis")
    assert step == 7 and "(critical): last step 7" in text
