from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hparams import UserError
from speech.voice import load_voice, save_voice
from tests.support.tiny import NO_DROPOUT, SYMBOLS, tiny_hparams, tiny_model, tiny_trainer

HPARAMS = tiny_hparams(**NO_DROPOUT, language="ru", gate_threshold=0.6)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "voice.safetensors"
    save_voice(path, tiny_model(HPARAMS).state_dict(), HPARAMS, symbols=SYMBOLS, step=12)
    return path


def test_a_saved_and_loaded_voice_synthesises_the_same(saved: Path) -> None:
    voice = load_voice(saved)
    assert (voice.hparams, voice.saved.symbols, voice.step) == (HPARAMS, SYMBOLS, 12)
    assert not voice.model.training
    text, lengths = torch.tensor([[1, 2, 3]]), torch.tensor([3])
    expected = tiny_model(HPARAMS).eval().synthesize(text, lengths)
    assert torch.equal(voice.model.synthesize(text, lengths).mels, expected.mels)


def test_a_checkpoint_can_be_loaded_as_a_voice(tmp_path: Path) -> None:
    trainer, _ = tiny_trainer(tmp_path, HPARAMS)
    trainer.train_step(next(iter(trainer.state.data.train.epoch(0))))
    voice = load_voice(trainer.state.save())
    assert (voice.hparams, voice.saved.symbols, voice.step) == (HPARAMS, SYMBOLS, 1)
    torch.testing.assert_close(voice.model.state_dict(), trainer.state.model.state_dict(), rtol=0, atol=0)


def test_a_truncated_voice_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, 2000, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(UserError, match="damaged, or not a voice"):
            load_voice(saved)


@pytest.mark.parametrize(
    "content", [b"not a voice", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"[]", b"\x04" + b"\0" * 7 + b"null"]
)
def test_a_file_of_other_content_is_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(UserError, match="damaged, or not a voice"):
        load_voice(saved)


def test_a_safetensors_file_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"hparams": "{}"}, {"hparams": "{}", "symbols": "[]", "step": "x"}):
        save_file({"w": torch.ones(1)}, path, metadata)
        with pytest.raises(UserError, match="not a voice"):
            load_voice(path)


def test_weights_that_do_not_fit_the_settings_are_refused(saved: Path) -> None:
    save_voice(saved, tiny_model(HPARAMS).state_dict(), tiny_hparams(prenet_dim=9), symbols=SYMBOLS, step=1)
    with pytest.raises(UserError, match="of another model: .*prenet"):
        load_voice(saved)


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    weights = tiny_model(HPARAMS).state_dict()
    name = next(iter(weights))
    weights[name].view(-1)[0] = float("nan")
    save_voice(saved, weights, HPARAMS, symbols=SYMBOLS, step=1)
    with pytest.raises(UserError, match=f"weights with NaN or infinity \\({name}\\)"):
        load_voice(saved)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_voice(tmp_path / "absent.safetensors")


def test_a_checkpoint_without_settings_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "iteration": 5}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="it holds no model, hparams"):
        load_voice(tmp_path / "foreign.pt")
