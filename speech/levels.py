"""Level of speech: units of one text, decoded one by one, are brought to the same loudness."""

from __future__ import annotations

import numpy as np

FRAME_SECONDS = 0.02
LOUD_SHARE = 0.1  # of the loudest frame's power, from which on a frame is speech
MAX_CHANGE_DB = 6.0
MIN_SECONDS = 0.3  # the level of a shorter unit says little


def speech_level_db(wave: np.ndarray, sampling_rate: int) -> float | None:
    """Mean power of the frames with speech, in dB of full scale; None for silence."""
    size = max(1, round(FRAME_SECONDS * sampling_rate))
    n_frames = len(wave) // size
    if n_frames == 0:
        return None
    power = np.square(wave[: n_frames * size], dtype=np.float64).reshape(n_frames, size).mean(1)
    if power.max() <= 0:
        return None
    return float(10 * np.log10(power[power >= LOUD_SHARE * power.max()].mean()))


def gain_to(level_db: float, wave: np.ndarray, sampling_rate: int) -> float:
    """Factor that brings a wave near this level, within bounds."""
    own = speech_level_db(wave, sampling_rate) if len(wave) >= MIN_SECONDS * sampling_rate else None
    if own is None:
        return 1.0
    return float(10 ** (np.clip(level_db - own, -MAX_CHANGE_DB, MAX_CHANGE_DB) / 20))
