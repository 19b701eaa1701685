"""Log-mel spectrograms of waveforms, and the STFT and filter bank that they are made with."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from corpus.audio.recording import UnusableAudio
from corpus.audio.torchaudio_compat import torchaudio_module
from hparams import HParams


class MelFrontend:
    """Waves to natural-log mels, as the reference Tacotron 2 computes them."""

    def __init__(self, hparams: HParams) -> None:
        self._hparams = hparams
        self.basis = mel_basis(hparams)

    def mel(self, wave: Tensor) -> Tensor:
        """Return [n_mel_channels, 1 + n // hop_length] natural-log mels of float32 `wave` [n]."""
        if len(wave) <= self._hparams.filter_length // 2:
            raise UnusableAudio(f"{len(wave)} samples are too few for a mel")
        magnitudes = stft(wave, self._hparams).abs()
        return (self.basis.to(wave.device) @ magnitudes).clamp(min=self._hparams.mel_floor).log()


def stft(wave: Tensor, hparams: HParams) -> Tensor:
    """Return the complex spectrum [filter_length // 2 + 1, 1 + n // hop_length] of a wave [n]."""
    return torch.stft(
        wave,
        n_fft=hparams.filter_length,
        hop_length=hparams.hop_length,
        win_length=hparams.win_length,
        window=torch.hann_window(hparams.win_length, device=wave.device),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )


@functools.lru_cache(maxsize=4)
def mel_basis(hparams: HParams) -> Tensor:
    """Return the Slaney filter bank [n_mel_channels, filter_length // 2 + 1]."""
    bank = torchaudio_module().functional.melscale_fbanks(
        n_freqs=hparams.filter_length // 2 + 1,
        f_min=hparams.mel_fmin,
        f_max=hparams.mel_fmax,
        n_mels=hparams.n_mel_channels,
        sample_rate=hparams.sampling_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return bank.T.contiguous()
