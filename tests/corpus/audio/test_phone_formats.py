"""Recordings of phones and browsers."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from corpus.audio.recording import UnusableAudio, read_recording, write_wave
from corpus.utterances import read_corpus
from hparams import UserError

RATE = 48_000
SECONDS = 1.3
ENCODERS = {".m4a": "aac", ".aac": "aac", ".mp4": "aac", ".webm": "libopus", ".opus": "libopus", ".mka": "flac"}


def tone() -> np.ndarray:
    """A tone of 220 Hz that becomes louder."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    wave: np.ndarray = (0.4 * times / SECONDS * np.sin(2 * np.pi * 220 * times)).astype(np.float32)
    return wave


def write_phone_recording(path: Path, *, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(ENCODERS[path.suffix.lower()], rate=RATE)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(np.stack([tone()] * channels), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        converter = av.AudioResampler(format=stream.format)
        for converted in converter.resample(frame):
            for packet in [*stream.encode(converted), *stream.encode(None)]:
                file.mux(packet)
    return path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", ENCODERS)
def test_a_phone_recording_sounds_as_it_was_recorded(tmp_path: Path, suffix: str, channels: int) -> None:
    recording = read_recording(write_phone_recording(tmp_path / f"x{suffix}", channels=channels))
    assert recording.sampling_rate == RATE
    assert recording.seconds == pytest.approx(SECONDS, abs=0.03)  # an encoder's frame
    wave = recording.wave[: round(SECONDS * RATE)]
    offset = int(np.argmax(np.correlate(wave, tone()[:4800], "valid")[:2000])) if suffix == ".aac" else 0
    n_frames = min(len(wave) - offset, len(tone()))
    assert np.corrcoef(wave[offset : offset + n_frames], tone()[:n_frames])[0, 1] > 0.99


@pytest.mark.parametrize(
    ("data_format", "metadata", "line"),
    [
        ("ljspeech", "metadata.csv", "{name}|Hello|Hello"),
        ("ruslan", "metadata.csv", "{name}|Hello"),
        ("filelist", "train.txt", "wavs/{name}.webm|Hello"),
        ("csv", "metadata.csv", "wavs/{name}.webm,Hello"),
        ("paired", "", ""),
    ],
)
def test_every_metadata_format_finds_phone_recordings(
    tmp_path: Path, data_format: str, metadata: str, line: str
) -> None:
    names = ("a", "b")
    for name in names:
        write_phone_recording(tmp_path / "wavs" / f"{name}.webm")
        if data_format == "paired":
            (tmp_path / "wavs" / f"{name}.txt").write_text("Hello")
    if metadata:
        lines = [line.format(name=name) for name in names]
        header = ["path,text"] if data_format == "csv" else []
        (tmp_path / metadata).write_text("\n".join([*header, *lines]))
    corpus = read_corpus(str(tmp_path), "auto" if data_format == "paired" else data_format)
    assert corpus.format == data_format and corpus.skipped == ()
    assert [u.audio_path.name for u in corpus.utterances] == ["a.webm", "b.webm"]


def test_a_recording_that_needs_no_other_decoder_is_preferred(tmp_path: Path) -> None:
    for name in ("x.m4a", "x.txt", "y.wav", "y.txt"):
        (tmp_path / name).write_text("Hello")
    write_wave(tmp_path / "x.wav", tone(), RATE)
    assert [u.audio_path.name for u in read_corpus(str(tmp_path), "paired").utterances] == ["x.wav", "y.wav"]


def test_without_pyav_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.webm", "b.m4a"):
        write_phone_recording(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text("Hello")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError) as error:
        read_corpus(str(tmp_path), "auto")
    assert str(error.value) == ("reading 2 recordings (.m4a, .webm) needs PyAV: pip install -r requirements-phone.txt")


@pytest.mark.parametrize("suffix", [".aac", ".m4a"])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_silence_at_the_beginning_is_not_taken_for_truncation(tmp_path: Path, suffix: str, rate: int) -> None:
    """FFmpeg estimates the length of raw AAC from the bit rate of its beginning."""
    path, wave = tmp_path / f"x{suffix}", np.concatenate([np.zeros(3 * rate, np.float32), tone()])
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    assert read_recording(path).seconds == pytest.approx(len(wave) / rate, abs=0.2)


def test_a_damaged_file_is_named_as_unreadable(tmp_path: Path) -> None:
    path = write_phone_recording(tmp_path / "x.m4a")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UnusableAudio, match="not readable as audio"):
        read_recording(path)


def test_a_film_without_sound_is_named(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    with pytest.raises(UnusableAudio, match="it has no sound"):
        read_recording(path)
