"""Reader of sample WAV files, and their encoding for messengers (OGG/Opus) and browsers (MP3)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

OPUS_RATE = 24_000  # Hz, one of the rates that Opus supports
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """Return float32 [samples] in -1..1 and the sampling rate in Hz."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    return np.atleast_1d(samples), int(rate)


def encode_opus(path: Path) -> bytes:
    """Encode as OGG/Opus, which messengers play as voice messages; an empty sound becomes 0.1 s of silence."""
    samples, rate = read_wave(path)
    return _encode(resample(samples, rate, OPUS_RATE), OPUS_RATE, "OGG", "OPUS")


def encode_mp3(path: Path) -> bytes:
    """Encode as MP3, which is small and which every browser plays, at the nearest rate that MP3 supports."""
    samples, rate = read_wave(path)
    mp3_rate = min(MP3_RATES, key=lambda supported: abs(supported - rate))
    return _encode(resample(samples, rate, mp3_rate), mp3_rate, "MP3", "MPEG_LAYER_III")


def resample(samples: np.ndarray, rate: int, to_rate: int) -> np.ndarray:
    """Resample in the frequency domain; 0.1 s of silence is added, so that the ends do not wrap into each other."""
    if rate == to_rate or samples.size == 0:
        return samples
    padded = np.concatenate([samples, np.zeros(rate // 10, samples.dtype)])
    length = round(len(padded) * to_rate / rate)
    spectrum = np.fft.rfft(padded)
    new_spectrum = np.zeros(length // 2 + 1, complex)
    n = min(len(new_spectrum), len(spectrum))
    new_spectrum[:n] = spectrum[:n]
    wave = np.fft.irfft(new_spectrum, length) * length / len(padded)
    return wave[: round(len(samples) * to_rate / rate)].astype(np.float32)


def _encode(samples: np.ndarray, rate: int, container: str, subtype: str) -> bytes:
    import soundfile

    content = io.BytesIO()
    wave = samples if samples.size else np.zeros(rate // 10, np.float32)
    soundfile.write(content, np.clip(wave, -1, 1), rate, format=container, subtype=subtype)
    return content.getvalue()
