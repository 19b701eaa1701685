"""Acoustic models (text to mel) and vocoders (mel to wave), with the kernels they share."""

from __future__ import annotations

from torch import nn

from hparams import HParams
from models.glow_tts.model import GlowTTS
from models.tacotron2.model import Tacotron2

TrainableModel = Tacotron2 | GlowTTS
"""Each is an nn.Module and satisfies the protocol AcousticModel; Python has no annotation for both at once."""

ARCHITECTURES: dict[str, type[TrainableModel]] = {"tacotron2": Tacotron2, "glow_tts": GlowTTS}


def build_model(hparams: HParams, n_symbols: int) -> TrainableModel:
    """Build a freshly initialised model of the recipe's architecture."""
    return ARCHITECTURES[hparams.model](hparams, n_symbols)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
