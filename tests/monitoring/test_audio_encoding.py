"""Encoding of sound for messengers and browsers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitoring.audio_encoding import encode_mp3, encode_opus, read_wave, resample
from tests.monitoring.wave_file import write_pcm


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """Two seconds of 440 Hz."""
    path = tmp_path / "tone.wav"
    seconds = np.arange(2 * 22_050) / 22_050
    write_pcm(path, list((12_000 * np.sin(2 * np.pi * 440 * seconds)).astype(int)), rate=22_050)
    return path


@pytest.mark.parametrize("encode", [encode_opus, encode_mp3])
def test_an_encoded_tone_keeps_length_pitch_and_loudness(tone: Path, encode: object) -> None:
    assert callable(encode)
    wave, rate = soundfile.read(io.BytesIO(encode(tone)))
    assert len(wave) / rate == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(wave))
    assert spectrum.argmax() * rate / len(wave) == pytest.approx(440, abs=2)
    assert wave.std() == pytest.approx(12_000 / 2**15 / 2**0.5, abs=0.02)


def test_messengers_get_opus_and_browsers_mp3(tone: Path) -> None:
    assert soundfile.info(io.BytesIO(encode_opus(tone))).subtype == "OPUS"
    assert soundfile.info(io.BytesIO(encode_mp3(tone))).format == "MP3"


@pytest.mark.parametrize("rate", [7_350, 20_000, 40_000, 96_000])
def test_mp3_gets_the_nearest_supported_rate(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "odd.wav"
    write_pcm(path, list((12_000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(int)), rate=rate)
    wave, mp3_rate = soundfile.read(io.BytesIO(encode_mp3(path)))
    assert len(wave) / mp3_rate == pytest.approx(1.0, abs=0.2)
    assert np.abs(np.fft.rfft(wave)).argmax() * mp3_rate / len(wave) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("length", [0, 1, 50])
def test_an_almost_empty_sound_is_encoded(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.wav"
    write_pcm(path, [0] * length, rate=22_050)
    assert encode_opus(path) and encode_mp3(path)


@pytest.mark.parametrize(("rate", "to"), [(22_050, 24_000), (44_100, 24_000), (24_000, 24_000)])
def test_resampling_keeps_the_waveform(rate: int, to: int) -> None:
    wave = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    expected = np.sin(2 * np.pi * 1000 * np.arange(to) / to)
    np.testing.assert_allclose(resample(wave, rate, to)[1000:-1000], expected[1000:-1000], atol=2e-2)


def test_a_wave_file_is_read_as_samples_in_minus_one_to_one(tmp_path: Path) -> None:
    write_pcm(tmp_path / "x.wav", [0, 16384, -32768], rate=8000)
    wave, rate = read_wave(tmp_path / "x.wav")
    assert (list(wave), rate) == ([0.0, 0.5, -1.0], 8000)
