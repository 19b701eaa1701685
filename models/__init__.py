"""Every architecture by name."""

from __future__ import annotations

from torch import nn

from hparams import HParams
from models.tacotron2 import Tacotron2

ARCHITECTURES: dict[str, type[Tacotron2]] = {"tacotron2": Tacotron2}


def build_model(hparams: HParams, n_symbols: int) -> Tacotron2:
    """A freshly initialised model of the recipe's architecture."""
    return ARCHITECTURES[hparams.model](hparams, n_symbols)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
