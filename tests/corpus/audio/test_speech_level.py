from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from corpus.audio.speech_level import (
    EVEN_LEVEL_DB,
    N_MEASURED,
    at_even_level,
    measure_level_spread,
    speech_level_db,
)
from corpus.mel_cache import MelCache
from corpus.utterances import Utterance
from hparams import build_hparams

RATE = 22_050


def tone(amplitude: float, seconds: float = 1.0) -> np.ndarray:
    return (amplitude * np.sin(np.arange(round(seconds * RATE)) * 0.1)).astype(np.float32)


def test_a_wave_comes_to_the_even_level_unless_its_peaks_forbid() -> None:
    for amplitude in (0.001, 0.1, 0.9):
        assert speech_level_db(at_even_level(tone(amplitude), RATE), RATE) == pytest.approx(EVEN_LEVEL_DB, abs=0.1)
    spiky = tone(0.01)
    spiky[100] = 0.5
    assert np.abs(at_even_level(spiky, RATE)).max() <= 1.0
    assert not at_even_level(np.zeros(RATE, np.float32), RATE).any()


def write(folder: Path, amplitudes: list[float], seconds: float = 1.0) -> list[Path]:
    paths = [folder / f"{i}.wav" for i in range(len(amplitudes))]
    for path, amplitude in zip(paths, amplitudes, strict=True):
        soundfile.write(path, tone(amplitude, seconds), RATE, subtype="FLOAT")
    return paths


def test_the_spread_is_that_between_loud_and_quiet_recordings(tmp_path: Path) -> None:
    paths = write(tmp_path, [0.5] * 10 + [0.005] * 10)
    assert measure_level_spread(paths) == pytest.approx(40, abs=0.5)
    assert measure_level_spread(paths[:10]) == pytest.approx(0, abs=0.1)
    assert measure_level_spread([tmp_path / "absent.wav"]) == 0.0


def test_a_spread_that_alternates_from_recording_to_recording_is_found(tmp_path: Path) -> None:
    paths = write(tmp_path, [0.5, 0.005] * (2 * N_MEASURED), seconds=0.1)

    assert measure_level_spread(paths) == pytest.approx(40, abs=1)


def test_mels_at_one_level_are_equal_and_cached_apart(tmp_path: Path) -> None:
    loud, quiet = (Utterance(p.stem, p, "x") for p in write(tmp_path, [0.5, 0.005]))
    even, recorded = (
        MelCache(tmp_path / "cache", build_hparams({"speech_level": level})) for level in ("even", "as_recorded")
    )
    np.testing.assert_allclose(even.mel(loud), even.mel(quiet), atol=1e-2)
    assert recorded.mel(loud).mean() - recorded.mel(quiet).mean() > 1.0
    assert even.settings_digest != recorded.settings_digest
    assert recorded.settings_digest == MelCache(tmp_path / "cache", build_hparams({})).settings_digest
