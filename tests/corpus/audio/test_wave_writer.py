from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from corpus.audio.wave_writer import WaveWriter


def test_the_file_can_be_played_after_each_piece(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with WaveWriter(path, 8_000) as writer:
        for n in (1, 2, 3):
            assert writer.write(np.full(100, 0.5)) == 100
            assert soundfile.info(path).frames == 100 * n
    samples, rate = soundfile.read(path)
    assert rate == 8_000 and np.allclose(samples, 0.5, atol=1e-4)


def test_loud_pieces_are_scaled_and_broken_ones_refused(tmp_path: Path) -> None:
    with WaveWriter(tmp_path / "x.wav", 8_000) as writer:
        writer.write(np.array([2.0, -1.0]))
        with pytest.raises(ValueError, match="finite"):
            writer.write(np.array([np.nan]))
    assert soundfile.read(tmp_path / "x.wav")[0] == pytest.approx([1.0, -0.5], abs=1e-4)
