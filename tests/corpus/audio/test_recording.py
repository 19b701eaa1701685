from __future__ import annotations

import os
import struct
import wave as wave_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from corpus.audio.recording import UnusableAudio, read_audio, read_recording, resample, trim, write_wave
from hparams import HParams

RATE = 22050


def tone(seconds: float, *, rate: int = RATE, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def write(path: Path, wave: np.ndarray, *, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


def loudest_hertz(wave: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * rate / len(wave))


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [("PCM_U8", 2e-2), ("PCM_16", 1e-4), ("PCM_24", 1e-6), ("PCM_32", 1e-6), ("FLOAT", 1e-7), ("DOUBLE", 1e-7)],
)
def test_every_sample_format_gives_the_same_wave(tmp_path: Path, subtype: str, tolerance: float) -> None:
    wave = read_audio(write(tmp_path / "a.wav", tone(0.3), subtype=subtype), RATE)
    assert wave.dtype == np.float32
    np.testing.assert_allclose(wave, tone(0.3), atol=tolerance)


def test_compressed_files_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", tone(0.5), RATE)
    assert loudest_hertz(read_audio(tmp_path / "a.ogg", RATE), RATE) == pytest.approx(440, abs=2)


def test_stereo_is_mixed_to_the_mean(tmp_path: Path) -> None:
    stereo = np.stack([tone(0.3, level=0.8), tone(0.3, level=0.2)], axis=1)
    np.testing.assert_allclose(read_audio(write(tmp_path / "a.wav", stereo), RATE), tone(0.3, level=0.5), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 96000, 22051])
def test_any_sampling_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    wave = read_audio(write(tmp_path / "a.wav", tone(1.0, rate=rate), rate=rate), RATE)
    assert len(wave) == pytest.approx(RATE, abs=20)
    middle = slice(RATE // 4, RATE // 2)
    assert loudest_hertz(wave, RATE) == pytest.approx(440, abs=1)
    assert np.abs(wave[middle]).max() == pytest.approx(0.5, abs=2e-3)


def test_resampling_removes_frequencies_above_the_new_limit() -> None:
    above_the_new_limit = tone(0.5, rate=48000, hertz=13000.0)
    resampled = resample(above_the_new_limit, source_rate=48000, target_rate=RATE)
    assert np.abs(resampled[2000:-2000]).max() < 1e-3


def test_resampling_keeps_the_treble_of_speech() -> None:
    treble = tone(0.5, rate=44100, hertz=9500.0)
    resampled = resample(treble, source_rate=44100, target_rate=RATE)
    assert np.abs(resampled[2000:-2000]).max() == pytest.approx(0.5, abs=0.01)


def test_a_sampling_rate_that_is_almost_right_is_not_resampled() -> None:
    wave = tone(0.1)
    assert resample(wave, source_rate=22051, target_rate=RATE) is wave


def test_a_float_file_beyond_full_scale_is_scaled_to_it(tmp_path: Path) -> None:
    wave = read_audio(write(tmp_path / "a.wav", tone(0.3, level=4.0), subtype="FLOAT"), RATE)
    np.testing.assert_allclose(wave, tone(0.3, level=1.0), atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_file_with_non_finite_samples_is_unusable(tmp_path: Path, bad: float) -> None:
    wave = tone(0.3)
    wave[100] = bad
    with pytest.raises(UnusableAudio, match="NaN or infinite"):
        read_audio(write(tmp_path / "a.wav", wave, subtype="FLOAT"), RATE)


@pytest.mark.parametrize("level", [0.0, 1 / 32768])
def test_a_silent_file_is_unusable_with_and_without_an_offset(tmp_path: Path, level: float) -> None:
    for name, offset in (("a.wav", 0.0), ("b.wav", 0.2)):
        with pytest.raises(UnusableAudio, match="silence"):
            read_audio(write(tmp_path / name, tone(0.3, level=level) + np.float32(offset)), RATE)


def test_a_quiet_recording_is_not_silence(tmp_path: Path) -> None:
    assert len(read_audio(write(tmp_path / "a.wav", tone(0.3, level=0.001)), RATE))


def test_files_without_samples_are_unusable(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").touch()
    whole = write(tmp_path / "a.wav", tone(0.3)).read_bytes()
    (tmp_path / "header.wav").write_bytes(whole[:44])
    write(tmp_path / "none.wav", tone(0.0))
    (tmp_path / "text.wav").write_text("not audio at all")
    (tmp_path / "raw.raw").write_bytes(b"\0\1" * 100)
    reasons = {}
    for name in ("zero.wav", "header.wav", "none.wav", "text.wav", "raw.raw", "absent.wav"):
        with pytest.raises(UnusableAudio) as error:
            read_audio(tmp_path / name, RATE)
        reasons[name] = str(error.value)
    assert all("\n" not in reason and str(tmp_path) not in reason for reason in reasons.values())
    assert {name for name, reason in reasons.items() if reason == "empty: it has no samples"} == {
        "header.wav",
        "none.wav",
    }
    assert {name for name, reason in reasons.items() if "not readable" in reason} == {"zero.wav", "text.wav", "raw.raw"}
    assert reasons["absent.wav"] == "there is no such file"


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.mp3"])
@pytest.mark.filterwarnings("default")
def test_a_truncated_file_is_unusable(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, tone(1.0), subtype="MPEG_LAYER_III" if name == "a.mp3" else "PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnusableAudio, match="truncated|not readable"):
        read_audio(path, RATE)


def test_a_wave_written_to_a_pipe_without_a_size_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(0.3))
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert len(read_audio(path, RATE)) == len(tone(0.3))


def test_the_share_of_samples_at_full_scale_is_counted(tmp_path: Path) -> None:
    wave = np.clip(tone(0.5, level=2.0), -1, 1)
    clipped = read_recording(write(tmp_path / "a.wav", wave)).full_scale_share
    assert clipped == pytest.approx(float(np.mean(np.abs(wave) >= 0.9999)), abs=0.01) and clipped > 0.5
    assert read_recording(write(tmp_path / "b.wav", tone(0.5))).full_scale_share == 0


def test_trimming_keeps_speech_and_the_margin() -> None:
    hparams = HParams(trim_margin_seconds=0.1)
    wave = np.concatenate([silence(1.0), tone(0.5), silence(0.3), tone(0.5), silence(2.0)])
    assert len(trim(wave, hparams)) / RATE == pytest.approx(0.1 + 1.3 + 0.1, abs=2 * 256 / RATE)


def test_trimming_without_a_margin_cuts_no_speech() -> None:
    wave = np.concatenate([silence(1.0), tone(0.5), silence(1.0)])
    trimmed = trim(wave, HParams(trim_margin_seconds=0.0))
    assert np.abs(trimmed).sum() == pytest.approx(np.abs(wave).sum()) and len(trimmed) < len(tone(0.5)) + 2 * 256


def test_trimming_follows_trim_db_and_ignores_an_offset() -> None:
    wave = np.concatenate([tone(0.5, level=0.005), tone(0.5), tone(0.5, level=0.005)]) + np.float32(0.1)
    assert len(trim(wave, HParams(trim_db=50.0))) == len(wave)
    assert len(trim(wave, HParams(trim_db=30.0, trim_margin_seconds=0.0))) / RATE == pytest.approx(0.5, abs=0.03)


def test_a_wave_shorter_than_a_frame_is_not_trimmed() -> None:
    assert len(trim(tone(0.005), HParams())) == len(tone(0.005))


def test_a_written_wave_is_16_bit_and_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wave(path, torch.from_numpy(tone(0.3)), RATE)
    with wave_module.open(str(path)) as file:
        assert (file.getsampwidth(), file.getframerate(), file.getnchannels()) == (2, RATE, 1)
    np.testing.assert_allclose(read_audio(path, RATE), tone(0.3), atol=1e-4)
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_written_wave_is_scaled_if_it_would_clip(tmp_path: Path) -> None:
    write_wave(tmp_path / "loud.wav", tone(0.3, level=2.0), RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "loud.wav", RATE), tone(0.3, level=1.0), atol=1e-3)


def test_a_wave_with_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="finite"):
        write_wave(tmp_path / "a.wav", np.array([0.0, np.nan], dtype=np.float32), RATE)
    assert os.listdir(tmp_path) == []
