"""Griffin-Lim: a wave for a mel without a trained network, by repeated estimation of the phases."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from corpus.audio.mel import mel_basis, stft
from hparams import HParams

START_UPDATES = 5
"""Corrections of the first magnitudes towards the wanted mel, before any phase is estimated."""
MOMENTUM = 0.99
"""Share of the last change that fast Griffin-Lim adds to each new spectrum."""


def griffin_lim(mel: Tensor, hparams: HParams) -> Tensor:
    """Return a wave [(frames - 1) * hop_length] for a natural-log mel [n_mel_channels, frames], deterministically.

    Fast Griffin-Lim, with one addition: after each iteration the magnitudes take over the fine structure of the
    estimated spectrum and are corrected to give the wanted mel. Compared with magnitudes fixed beforehand (32 real
    clips, 60 iterations) the mel of the result is three times closer to the wanted one.
    """
    n_samples = max(1, mel.shape[1] - 1) * hparams.hop_length
    target = _pad_to_shortest(mel.float(), hparams).exp()
    basis = mel_basis(hparams).to(mel.device)
    magnitudes = basis.T @ target
    for _ in range(START_UPDATES):
        magnitudes = _update_towards_mel(magnitudes, target, basis)
    spectrum = magnitudes.to(torch.complex64)
    previous = spectrum
    momentum = 0.0
    for _ in range(hparams.griffin_lim_iterations):
        consistent = stft(_istft(spectrum, hparams), hparams)
        magnitudes = _update_towards_mel(consistent.abs(), target, basis)
        spectrum = magnitudes * torch.sgn(consistent + momentum * (consistent - previous))
        previous, momentum = consistent, MOMENTUM
    return _istft(spectrum, hparams)[:n_samples]


def _update_towards_mel(magnitudes: Tensor, target: Tensor, basis: Tensor) -> Tensor:
    """Scale magnitudes [bins, frames] so that their mel is nearer to `target`, by one multiplicative update."""
    tiny = torch.finfo(torch.float32).tiny
    correction = basis.T @ (target / (basis @ magnitudes).clamp(min=tiny))
    return magnitudes * (correction / basis.sum(0).clamp(min=tiny)[:, None])


def _pad_to_shortest(mel: Tensor, hparams: HParams) -> Tensor:
    """Append silent frames to [n_mel_channels, frames] until the wave is long enough for an STFT."""
    missing = hparams.filter_length // (2 * hparams.hop_length) + 2 - mel.shape[1]
    return torch.nn.functional.pad(mel, (0, max(0, missing)), value=float(np.log(hparams.mel_floor)))


def _istft(spectrum: Tensor, hparams: HParams) -> Tensor:
    """Return the wave [(frames - 1) * hop_length] nearest to a complex spectrum."""
    return torch.istft(
        spectrum,
        n_fft=hparams.filter_length,
        hop_length=hparams.hop_length,
        win_length=hparams.win_length,
        window=torch.hann_window(hparams.win_length, device=spectrum.device),
    )
