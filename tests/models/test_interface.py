from __future__ import annotations

import pytest

from models import ARCHITECTURES
from models.glow_tts.model import GlowTTS
from models.interface import AcousticModel
from models.tacotron2.model import Tacotron2
from tests.tiny import GLOW, tiny_hparams

MODELS: list[AcousticModel] = [Tacotron2(tiny_hparams(), 12), GlowTTS(tiny_hparams(**GLOW), 12)]
"""That they have all a trainer asks for is checked by mypy."""


def test_every_architecture_is_among_them() -> None:
    assert {type(model) for model in MODELS} == set(ARCHITECTURES.values())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_is_told_apart_are_parts_of_the_model(model: AcousticModel) -> None:
    assert model.measures().keys() == set(model.MEASURES)
    parts = [id(parameter) for part in model.gradient_parts().values() for parameter in part]
    assert len(parts) == len(set(parts))
