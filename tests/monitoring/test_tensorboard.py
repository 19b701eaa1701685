"""What was logged is what TensorBoard reads back."""

import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from monitoring.plots import Sample
from monitoring.signals import DecodeReport
from monitoring.tensorboard import TensorBoardLog


@dataclass(frozen=True)
class Step:
    step: int
    mel_loss: float | None = 1.0
    epoch: int = 1
    gate_loss: float | None = 0.5
    guide_loss: float | None = 0.25
    total_loss: float | None = 1.75
    gradient_norm: float | None = 3.0
    learning_rate: float = 1e-3
    update_ratio: float | None = None
    frames_per_second: float = 9000.0
    data_wait_share: float = 0.01
    memory_bytes: int = 2**20
    nonfinite_steps: int = 0
    out_of_memory_steps: int = 0
    utterance_ids: tuple[str, ...] = ("a",)
    utterance_losses: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Evaluation:
    step: int
    epoch: int = 1
    losses: Mapping[str, float] = field(default_factory=dict)
    decodes: Sequence[DecodeReport] = ()


def sample(audio: np.ndarray) -> Sample:
    return Sample(
        id="../../etc/passwd",
        sentence="<b>$x</b>",
        symbols=list("abc"),
        attention=np.eye(3),
        free_mel=np.zeros((80, 30)),
        recorded_mel=None,
        audio=audio,
        sampling_rate=8000,
        hop_length=256,
    )


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "audio": 0})
    return events.Reload()


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def test_steps_become_scalars_by_group(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        log.step(Step(step=1, mel_loss=4.0))
        log.step(Step(step=2, mel_loss=2.0))
    assert scalars(tmp_path, "losses/mel_loss") == [(1, 4.0), (2, 2.0)]
    assert scalars(tmp_path, "gradient_norm") == [(1, 3.0), (2, 3.0)]
    assert scalars(tmp_path, "learning_rate")[0] == (1, pytest.approx(1e-3))
    assert scalars(tmp_path, "signals/memory_bytes")[0] == (1, 2.0**20)


def test_what_is_none_is_not_written(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        log.step(Step(step=1))
        log.step(Step(step=2, total_loss=None))
        log.evaluation(Evaluation(step=2), {"focus": None, "coverage": 0.0}, [])
    assert scalars(tmp_path, "gradient_norm") == [(1, 3.0)]
    tags = read(tmp_path).Tags()["scalars"]
    assert "signals/update_ratio" not in tags
    assert "signals/focus" not in tags
    assert scalars(tmp_path, "signals/coverage") == [(2, 0.0)]


def test_an_evaluation_is_on_the_disk_with_pictures_and_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = TensorBoardLog(tmp_path)
    audio = np.array([0.0, 0.5, -3.0, 1.0], dtype=np.float32)
    log.evaluation(Evaluation(step=10), {"val_mel_loss": 0.25, "composite_tts_score": 0.5}, [sample(audio)])
    assert capsys.readouterr().out == ""
    events = read(tmp_path)  # the log is still open
    log.close()
    assert events.Scalars("losses/val_mel_loss")[0].value == 0.25
    assert events.Scalars("signals/composite_tts_score")[0].value == 0.5
    assert set(events.Tags()["images"]) == {"sample_00/alignment_and_mel"}
    picture = events.Images("sample_00/alignment_and_mel")[0]
    assert (picture.step, picture.encoded_image_string[:4]) == (10, b"\x89PNG")
    (sound,) = events.Audio("sample_00/audio")
    with wave.open(io.BytesIO(sound.encoded_audio_string)) as reader:
        assert reader.getframerate() == 8000
        frames = np.frombuffer(reader.readframes(4), dtype="<i2")
    assert list(frames) == [0, 16383, -32767, 32767]


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(1), np.array([0.0, np.nan])])
def test_a_voice_that_made_no_sound_is_logged_without_one(tmp_path: Path, audio: np.ndarray) -> None:
    with TensorBoardLog(tmp_path) as log:
        log.evaluation(Evaluation(step=1), {}, [sample(audio)])
    assert read(tmp_path).Tags()["audio"] == []
    assert len(read(tmp_path).Tags()["images"]) == 1


def test_event_files_of_one_folder_bear_different_seconds(tmp_path: Path) -> None:
    for _ in range(3):
        TensorBoardLog(tmp_path).close()
    assert len({path.name.split(".")[3] for path in tmp_path.iterdir()}) == 3


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        for step in range(1, 6):
            log.step(Step(step=step, mel_loss=1.0))
    with TensorBoardLog(tmp_path, resumed_step=3) as log:
        log.step(Step(step=4, mel_loss=9.0))
    assert scalars(tmp_path, "losses/mel_loss") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 9.0)]
