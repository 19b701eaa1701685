"""Writer of a 16-bit WAV file piece by piece; its header is valid after each piece."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Self

import numpy as np

FULL_SCALE = 32767


class WaveWriter:
    """Open WAV file of mono samples; a piece with a peak above 1 is scaled down to 1, not clipped."""

    def __init__(self, path: Path, sampling_rate: int) -> None:
        self._stream = path.open("wb")
        self._file = wave.Wave_write(self._stream)
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(sampling_rate)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._stream.close()

    def write(self, samples: np.ndarray) -> int:
        """Append samples; return their number."""
        if not np.isfinite(samples).all():
            raise ValueError("expected finite samples, got NaN or infinite ones")
        peak = float(np.abs(samples).max()) if len(samples) else 0.0
        scaled = np.round(FULL_SCALE * samples / max(1.0, peak)).astype("<i2")
        self._file.writeframes(scaled.tobytes())
        self._stream.flush()
        return len(samples)
