from __future__ import annotations

from models import ARCHITECTURES
from models.glow_tts.model import GlowTTS
from models.interface import AcousticModel
from models.tacotron2.model import Tacotron2
from tests.support.tiny import GLOW, tiny_hparams

MODELS: list[AcousticModel] = [Tacotron2(tiny_hparams(), 12), GlowTTS(tiny_hparams(**GLOW), 12)]
"""Typed as the protocol, so that mypy checks that the classes satisfy it."""


def test_mypy_checks_every_architecture_against_the_protocol() -> None:
    assert {type(model) for model in MODELS} == set(ARCHITECTURES.values())
