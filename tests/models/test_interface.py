from __future__ import annotations

import pytest

from models import ARCHITECTURES
from models.glow_tts.model import GlowTTS
from models.interface import AcousticModel
from models.tacotron2.model import Tacotron2
from tests.tiny import GLOW, tiny_hparams

MODELS: list[AcousticModel] = [Tacotron2(tiny_hparams(), 12), GlowTTS(tiny_hparams(**GLOW), 12)]
"""Typed as the protocol, so that mypy checks that the classes satisfy it."""


def test_every_architecture_is_covered() -> None:
    assert {type(model) for model in MODELS} == set(ARCHITECTURES.values())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_measures_have_the_declared_names_and_gradient_parts_do_not_overlap(model: AcousticModel) -> None:
    assert model.measures().keys() == set(model.MEASURES)
    parts = [id(parameter) for part in model.gradient_parts().values() for parameter in part]
    assert len(parts) == len(set(parts))
