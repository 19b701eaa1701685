"""Level of speech: units of one text, decoded one by one, are brought to the same loudness."""

from __future__ import annotations

import numpy as np

from corpus.audio.speech_level import speech_level_db

MAX_CHANGE_DB = 6.0
MIN_SECONDS = 0.3  # the level of a shorter unit says little


def gain_to(level_db: float, wave: np.ndarray, sampling_rate: int) -> float:
    """Factor that brings a wave near this level, within bounds."""
    own = speech_level_db(wave, sampling_rate) if len(wave) >= MIN_SECONDS * sampling_rate else None
    if own is None:
        return 1.0
    return float(10 ** (np.clip(level_db - own, -MAX_CHANGE_DB, MAX_CHANGE_DB) / 20))
