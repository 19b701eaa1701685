"""Joins the sound-making column to the watching one: mels become waves, ids become symbols."""

from __future__ import annotations

import numpy as np
import torch

from corpus.audio import griffin_lim, write_wave
from corpus.utterances import safe_name
from hparams import HParams
from monitoring.run_record import Voicing


def vocode(mel: np.ndarray, hparams: HParams) -> np.ndarray:
    """Natural-log mel [n_mel, T] → samples."""
    return griffin_lim(torch.from_numpy(mel), hparams).numpy()


def voicing_of(hparams: HParams, symbols: tuple[str, ...]) -> Voicing:
    return Voicing(
        symbols=symbols,
        vocode=lambda mel: vocode(mel, hparams),
        write_wave=lambda path, wave: write_wave(path, wave, hparams.sampling_rate),
        safe_name=safe_name,
        sampling_rate=hparams.sampling_rate,
        hop_length=hparams.hop_length,
    )
