"""Mels compared with numbers of the reference implementation."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from corpus.audio.mel import MelFrontend
from hparams import AUDIO_FIELDS, HParams

FIXTURES = Path(__file__).parents[2] / "fixtures" / "reference"


@pytest.fixture(scope="module")
def reference() -> tuple[HParams, dict[str, torch.Tensor]]:
    path = Path(os.environ.get("REFERENCE_FIXTURES", FIXTURES)) / "mel_frontend.safetensors"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return HParams(**{name: config[name] for name in AUDIO_FIELDS if name != "mel_floor"}), tensors


def test_mel_basis_parity(reference: tuple[HParams, dict[str, torch.Tensor]]) -> None:
    hparams, tensors = reference
    torch.testing.assert_close(MelFrontend(hparams).basis, tensors["output/mel_basis"], atol=1e-7, rtol=0)


def test_log_mel_parity(reference: tuple[HParams, dict[str, torch.Tensor]]) -> None:
    hparams, tensors = reference
    frontend = MelFrontend(hparams)
    names = [name for name in tensors if name.startswith("input/audio_")]
    assert names
    for name in names:
        expected = tensors[name.replace("input/audio", "output/tacotron2_mel")]
        torch.testing.assert_close(frontend.mel(tensors[name]), expected, atol=1e-4, rtol=0)
