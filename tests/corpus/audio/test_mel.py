from __future__ import annotations

import numpy as np
import pytest
import torch

from corpus.audio.mel import MelFrontend
from corpus.audio.recording import UnusableAudio
from hparams import HParams


def test_mels_have_the_documented_shape_and_floor() -> None:
    mel = MelFrontend(HParams()).mel(torch.zeros(256 * 10))
    assert mel.shape == (80, 11) and mel.dtype == torch.float32
    torch.testing.assert_close(mel, torch.full_like(mel, float(np.log(1e-5))))


def test_a_wave_too_short_for_a_window_is_unusable() -> None:
    with pytest.raises(UnusableAudio, match="512 samples"):
        MelFrontend(HParams()).mel(torch.zeros(512))
    assert MelFrontend(HParams()).mel(torch.zeros(513)).shape == (80, 3)
