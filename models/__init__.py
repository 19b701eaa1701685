"""Every architecture by name."""

from __future__ import annotations

import torch
from torch import nn

from hparams import HParams
from models.glow_tts.model import GlowTTS
from models.tacotron2.attention_gpu import forget_stretches
from models.tacotron2.model import Tacotron2

TrainableModel = Tacotron2 | GlowTTS
"""Each satisfies the protocol AcousticModel and is an nn.Module, which no annotation can say at once."""

ARCHITECTURES: dict[str, type[TrainableModel]] = {"tacotron2": Tacotron2, "glow_tts": GlowTTS}


def build_model(hparams: HParams, n_symbols: int) -> TrainableModel:
    """A freshly initialised model of the recipe's architecture."""
    return ARCHITECTURES[hparams.model](hparams, n_symbols)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def free_memory() -> None:
    """What models and torch keep of a GPU's memory for the next time goes back to it."""
    forget_stretches()
    torch.cuda.empty_cache()
