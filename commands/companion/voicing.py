"""Joins the sound-making column to the watching one: mels become waves."""

from __future__ import annotations

import numpy as np
import torch

from hparams import HParams
from models.vocoders.griffin_lim import griffin_lim


def vocode(mel: np.ndarray, hparams: HParams) -> np.ndarray:
    """Natural-log mel [n_mel, T] → samples."""
    return griffin_lim(torch.from_numpy(mel), hparams).numpy()
