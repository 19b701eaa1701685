from __future__ import annotations

import numpy as np
import pytest

from corpus.audio.speech_level import speech_level_db
from speech.levels import gain_to
from speech.subtitles import subtitles

RATE = 22_050


def tone(amplitude: float, seconds: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(np.arange(round(seconds * RATE)) * 0.1).astype(np.float32)


def test_the_level_is_that_of_the_speech_whatever_the_pauses() -> None:
    alone = speech_level_db(tone(0.1), RATE)
    assert alone == pytest.approx(-23, abs=0.2)
    assert speech_level_db(np.concatenate([tone(0.1), np.zeros(3 * RATE, np.float32)]), RATE) == pytest.approx(
        alone, abs=0.2
    )
    assert speech_level_db(np.zeros(RATE), RATE) is None and speech_level_db(np.zeros(3), RATE) is None


def test_a_gain_brings_to_the_level_within_bounds() -> None:
    level = speech_level_db(tone(0.1), RATE)
    assert level is not None
    assert gain_to(level, tone(0.08), RATE) == pytest.approx(1.25, rel=0.02)
    assert gain_to(level, tone(0.001), RATE) == pytest.approx(10**0.3, rel=0.01)
    assert gain_to(level, np.zeros(RATE), RATE) == gain_to(level, tone(0.05, seconds=0.1), RATE) == 1.0


def test_subtitles_have_numbers_times_and_texts() -> None:
    assert subtitles([(0.0, 1.5, "One."), (3661.25, 3662.0, "Two.")]) == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n01:01:01,250 --> 01:01:02,000\nTwo.\n"
    )
