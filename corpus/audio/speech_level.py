"""Level of speech in a recording, and recordings brought to one level where those of a corpus differ too much."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from corpus.audio.recording import UnusableAudio, read_recording

FRAME_SECONDS = 0.02
LOUD_SHARE = 0.1  # of the loudest frame's power, from which on a frame is speech
EVEN_LEVEL_DB = -20.0  # of full scale: usual for read speech
MAX_SPREAD_DB = 15.0  # one speaker at one microphone stays within 6
N_MEASURED, SAMPLE_SEED = 64, 1
PERCENTILES = (5, 95)


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


def at_even_level(wave: np.ndarray, sampling_rate: int) -> np.ndarray:
    """The wave with its speech at `EVEN_LEVEL_DB`, but no peak above full scale."""
    level = speech_level_db(wave, sampling_rate)
    if level is None:
        return wave
    gain = min(10 ** ((EVEN_LEVEL_DB - level) / 20), 1 / float(np.abs(wave).max()))
    return (wave * gain).astype(np.float32)


def measure_level_spread(paths: Sequence[Path]) -> float:
    """Difference in dB between loud and quiet recordings of a corpus, by a sample of them."""
    levels = []
    for path in random.Random(SAMPLE_SEED).sample(list(paths), min(N_MEASURED, len(paths))):
        try:
            recording = read_recording(path)
        except UnusableAudio:
            continue  # preparation and check report it
        if (level := speech_level_db(recording.wave, recording.sampling_rate)) is not None:
            levels.append(level)
    if not levels:
        return 0.0
    low, high = np.percentile(levels, PERCENTILES)
    return float(high - low)
