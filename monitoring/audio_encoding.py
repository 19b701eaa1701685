"""Reading the WAV files of samples, and giving them other forms to be sent and heard in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

OPUS_RATE = 24_000  # Hz, one of those that Opus knows
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """float32 [samples] in -1..1 and the sampling rate."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    return np.atleast_1d(samples), int(rate)


def as_voice_message(path: Path) -> bytes:
    """OGG/Opus, as messengers play it; a sound of no length becomes a moment of silence."""
    samples, rate = read_wave(path)
    return _encoded(resampled(samples, rate, OPUS_RATE), OPUS_RATE, "OGG", "OPUS")


def as_mp3(path: Path) -> bytes:
    """Small, and played by every browser."""
    samples, rate = read_wave(path)
    known = min(MP3_RATES, key=lambda other: abs(other - rate))
    return _encoded(resampled(samples, rate, known), known, "MP3", "MPEG_LAYER_III")


def resampled(samples: np.ndarray, rate: int, to_rate: int) -> np.ndarray:
    """The same sound, band-limited, with the ends faded into as much silence as keeps them apart."""
    if rate == to_rate or samples.size == 0:
        return samples
    padded = np.concatenate([samples, np.zeros(rate // 10, samples.dtype)])
    length = round(len(padded) * to_rate / rate)
    spectrum = np.fft.rfft(padded)
    kept = np.zeros(length // 2 + 1, complex)
    n = min(len(kept), len(spectrum))
    kept[:n] = spectrum[:n]
    wave = np.fft.irfft(kept, length) * length / len(padded)
    return wave[: round(len(samples) * to_rate / rate)].astype(np.float32)


def _encoded(samples: np.ndarray, rate: int, container: str, subtype: str) -> bytes:
    import soundfile

    content = io.BytesIO()
    audible = samples if samples.size else np.zeros(rate // 10, np.float32)
    soundfile.write(content, np.clip(audible, -1, 1), rate, format=container, subtype=subtype)
    return content.getvalue()
