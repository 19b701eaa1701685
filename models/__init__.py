"""Every architecture by name."""

from __future__ import annotations

from torch import nn

from hparams import HParams
from models.glow_tts.model import GlowTTS
from models.tacotron2 import Tacotron2

TrainableModel = Tacotron2 | GlowTTS
"""Each satisfies the protocol AcousticModel and is an nn.Module, which no annotation can say at once."""

ARCHITECTURES: dict[str, type[TrainableModel]] = {"tacotron2": Tacotron2, "glow_tts": GlowTTS}


def build_model(hparams: HParams, n_symbols: int) -> TrainableModel:
    """A freshly initialised model of the recipe's architecture."""
    return ARCHITECTURES[hparams.model](hparams, n_symbols)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
