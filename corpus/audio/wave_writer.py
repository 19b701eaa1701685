"""Writer of a 16-bit WAV file piece by piece; its header is valid after each piece."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np


class WaveWriter:
    """Open WAV file [samples]; a piece with a peak above 1 is scaled down to 1, not clipped."""

    def __init__(self, path: Path, sampling_rate: int) -> None:
        import soundfile

        self._file = soundfile.SoundFile(
            path, "w", samplerate=sampling_rate, channels=1, format="WAV", subtype="PCM_16"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, wave: np.ndarray) -> int:
        """Append samples; return their number."""
        if not np.isfinite(wave).all():
            raise ValueError("expected finite samples, got NaN or infinite ones")
        peak = float(np.abs(wave).max()) if len(wave) else 0.0
        self._file.write(wave / max(1.0, peak))
        self._file.flush()
        return len(wave)
