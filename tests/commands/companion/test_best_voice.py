from __future__ import annotations

import os
from pathlib import Path

import pytest
import soundfile

from commands.companion import best_voice
from commands.companion.best_voice import BestVoice
from corpus.text.frontend import text_frontend
from models import build_model
from speech.voice import Voice, load_voice, save_voice
from tests.support.tiny import tiny_hparams

HPARAMS = tiny_hparams(griffin_lim_iterations=2)


def write_voice(run: Path) -> Path:
    path, symbols = run / "voice.safetensors", text_frontend(HPARAMS).symbols
    save_voice(path, build_model(HPARAMS, len(symbols)).state_dict(), HPARAMS, symbols=symbols, step=1)
    return path


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the voice files loaded so far."""
    paths: list[Path] = []

    def load(path: Path) -> Voice:
        paths.append(path)
        return load_voice(path)

    monkeypatch.setattr(best_voice, "load_voice", load)
    return paths


def test_a_voice_is_loaded_once_and_again_when_its_file_changes(tmp_path: Path, loads: list[Path]) -> None:
    voice, wave = BestVoice(tmp_path), tmp_path / "said.wav"
    path = write_voice(tmp_path)
    voice.speak("good words", wave)
    voice.speak("more words", wave)
    assert soundfile.info(wave).frames > 0 and loads == [path]
    write_voice(tmp_path)
    os.utime(path, ns=(1, 1))
    voice.speak("good words", wave)
    assert loads == [path, path]


def test_a_run_without_a_voice_and_a_text_without_symbols_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no voice and no checkpoint"):
        BestVoice(tmp_path).speak("good", tmp_path / "said.wav")
    write_voice(tmp_path)
    with pytest.raises(ValueError, match="nothing that can be spoken"):
        BestVoice(tmp_path).speak("☃", tmp_path / "said.wav")
