from __future__ import annotations

import numpy as np
import pytest
import torch

from corpus.audio.mel import MelFrontend
from hparams import HParams
from models.vocoders.griffin_lim import griffin_lim

RATE = 22050


def vowel(seconds: float) -> torch.Tensor:
    """A gliding harmonic sound with a little noise, loud and soft by turns."""
    time = torch.arange(int(seconds * RATE)) / RATE
    phase = 2 * torch.pi * (120 * time + 20 * time**2)
    harmonics = sum(torch.sin(k * phase) / k for k in range(1, 20))
    noise = 0.01 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return 0.2 * (harmonics * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * time)) + noise)


def test_the_wave_has_the_wanted_mel_and_is_deterministic() -> None:
    hparams = HParams()
    mel = MelFrontend(hparams).mel(vowel(1.0))
    wave = griffin_lim(mel, hparams)
    assert len(wave) == (mel.shape[1] - 1) * hparams.hop_length
    assert float((MelFrontend(hparams).mel(wave) - mel).abs().mean()) < 0.06
    torch.testing.assert_close(wave, griffin_lim(mel, hparams), atol=0, rtol=0)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 7])
def test_a_mel_of_few_frames_gives_a_wave(n_frames: int) -> None:
    wave = griffin_lim(torch.full((80, n_frames), -2.0), HParams(griffin_lim_iterations=2))
    assert len(wave) == max(1, n_frames - 1) * 256 and wave.isfinite().all()


def test_silence_stays_silent() -> None:
    wave = griffin_lim(torch.full((80, 50), float(np.log(1e-5))), HParams(griffin_lim_iterations=5))
    assert wave.isfinite().all() and float(wave.abs().max()) < 1e-3
