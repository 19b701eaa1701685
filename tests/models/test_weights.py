from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hparams import HParams, UserError
from models.checkpoint_file import is_foreign, load_checkpoint
from models.weights import SavedSettings, changed_settings, load_all_weights, require_compatible, warm_start
from tests.tiny import GLOW, SYMBOLS, tiny_hparams, tiny_model, tiny_trainer

PATH = Path("old.pt")
HPARAMS = tiny_hparams()


def foreign(path: Path, prefix: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint as the NVIDIA implementation writes it after two steps, read back; and its weights."""
    trainer, _ = tiny_trainer(path, HPARAMS)
    for _, batch in zip(range(2), trainer.state.data.train.epoch(0), strict=False):
        trainer.train_step(batch)
    weights = trainer.state.model.state_dict()
    content = {
        "iteration": 2,
        "state_dict": {prefix + name: value for name, value in weights.items()},
        "optimizer": trainer.state.optimizer.state_dict(),
        "learning_rate": 1e-3,
    }
    torch.save(content, path / "checkpoint_2")
    return load_checkpoint(path / "checkpoint_2"), weights


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_foreign_checkpoint_goes_on_with_its_weights_step_and_optimizer(tmp_path: Path, prefix: str) -> None:
    state, weights = foreign(tmp_path, prefix)
    trainer, _ = tiny_trainer(tmp_path, HPARAMS)
    assert is_foreign(state)
    load_all_weights(trainer.state.model, tmp_path / "checkpoint_2", state)
    trainer.state.load_foreign(state)
    torch.testing.assert_close(trainer.state.model.state_dict(), weights, rtol=0, atol=0)
    moments = trainer.state.optimizer.state_dict()["state"]
    assert moments and torch.equal(moments[0]["exp_avg"], state["optimizer"]["state"][0]["exp_avg"])
    assert trainer.state.progress.step == 2
    report = trainer.train_step(next(iter(trainer.state.data.train.epoch(0))))
    assert report.step == 3 and report.gradient_norm is not None
    assert report.learning_rate == HPARAMS.learning_rate


def test_a_foreign_checkpoint_without_an_optimizer_goes_on_too(tmp_path: Path) -> None:
    state, weights = foreign(tmp_path)
    del state["optimizer"]
    trainer, _ = tiny_trainer(tmp_path, HPARAMS)
    load_all_weights(trainer.state.model, PATH, state)
    trainer.state.load_foreign(state)
    assert trainer.train_step(next(iter(trainer.state.data.train.epoch(0)))).gradient_norm is not None


@pytest.mark.parametrize(
    "groups",
    [[{"params": [0, 1], "lr": 0.1}], [{"params": [0], "lr": 0.1}, {"params": [1], "lr": 0.1}], []],
)
def test_a_foreign_optimizer_that_does_not_fit_starts_afresh(tmp_path: Path, groups: list[Any]) -> None:
    state, weights = foreign(tmp_path)
    state["optimizer"] = {"state": {}, "param_groups": groups}
    trainer, _ = tiny_trainer(tmp_path, HPARAMS)
    load_all_weights(trainer.state.model, PATH, state)
    trainer.state.load_foreign(state)
    torch.testing.assert_close(trainer.state.model.state_dict(), weights, rtol=0, atol=0)
    assert trainer.train_step(next(iter(trainer.state.data.train.epoch(0)))).gradient_norm is not None


def test_a_coqui_checkpoint_of_glow_tts_goes_on_with_its_weights_and_step(tmp_path: Path) -> None:
    hparams = tiny_hparams(**GLOW)
    weights = tiny_model(hparams, seed=1).state_dict()
    told = {"config": {"model": "glow_tts"}, "model": weights, "optimizer": None, "step": 1700, "model_loss": 0.5}
    torch.save(told, tmp_path / "checkpoint_1700.pth")
    state = load_checkpoint(tmp_path / "checkpoint_1700.pth")
    trainer, _ = tiny_trainer(tmp_path, hparams)
    assert is_foreign(state)
    load_all_weights(trainer.state.model, PATH, state)
    trainer.state.load_foreign(state)
    torch.testing.assert_close(trainer.state.model.state_dict(), dict(weights), rtol=0, atol=0)
    assert trainer.state.progress.step == 1700
    assert trainer.train_step(next(iter(trainer.state.data.train.epoch(0)))).gradient_norm is not None


def test_our_own_checkpoints_are_not_foreign() -> None:
    assert not is_foreign({"schema_version": 1, "model": {}})


def test_weights_of_another_shape_are_refused_by_name_and_nothing_is_loaded() -> None:
    model, other = tiny_model(HPARAMS), tiny_model(tiny_hparams(prenet_dim=10), seed=1)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(UserError, match=r"old.pt is of another model: .*prenet.*\[10, 12\] there, \[8, 12\] here"):
        load_all_weights(model, PATH, {"model": other.state_dict()})
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_missing_and_unknown_weights_are_named_and_many_are_counted() -> None:
    weights = dict(tiny_model(HPARAMS).state_dict())
    weights["vocoder.weight"] = weights.pop("embedding.weight")
    with pytest.raises(UserError, match="embedding.weight is missing there; vocoder.weight is not known here$"):
        load_all_weights(tiny_model(HPARAMS), PATH, {"model": weights})
    with pytest.raises(UserError, match=r"… \d\d differences in all$"):
        load_all_weights(tiny_model(HPARAMS), PATH, {"model": {"x": torch.ones(1)}})


@pytest.mark.parametrize("state", [{}, {"model": 5}, {"state_dict": {"w": "text"}}, {"model": [torch.ones(1)]}])
def test_a_dictionary_without_weights_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no weights found"):
        load_all_weights(tiny_model(HPARAMS), PATH, state)


def origin(symbols: tuple[str, ...] = SYMBOLS, **changes: Any) -> SavedSettings:
    return SavedSettings(PATH, tiny_hparams(**changes).model_dump(mode="json"), symbols)


def test_the_same_architecture_audio_and_symbols_fit_whatever_else_differs() -> None:
    require_compatible(origin(learning_rate=0.5, batch_size=7, p_prenet_dropout=0.1), HPARAMS, SYMBOLS)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prenet_dim": 16}, "prenet_dim is 16 there, 8 here"),
        ({"sampling_rate": 16000}, "sampling_rate is 16000 there, 22050 here"),
        ({"n_frames_per_step": 5, "hop_length": 200}, "n_frames_per_step is 5 there, 2 here, hop_length is 200"),
    ],
)
def test_another_architecture_or_audio_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        require_compatible(origin(**changes), HPARAMS, SYMBOLS)


def test_other_symbols_are_refused_even_when_there_are_as_many() -> None:
    with pytest.raises(UserError, match="trained on 12 symbols"):
        require_compatible(origin(tuple(reversed(SYMBOLS))), HPARAMS, SYMBOLS)


def test_settings_that_changed_are_told_before_and_now() -> None:
    state = {"hparams": tiny_hparams(learning_rate=0.5).model_dump(mode="json")}
    assert changed_settings(state, HPARAMS) == {"learning_rate": [0.5, 0.01]}


def test_what_was_not_a_setting_yet_was_as_it_is_by_default() -> None:
    hparams = HParams(model="glow_tts")
    saved = hparams.model_dump(mode="json")
    del saved["speakers"], saved["alignment_prior"]
    require_compatible(SavedSettings(PATH, saved, SYMBOLS), hparams, SYMBOLS)
    assert changed_settings({"hparams": saved}, hparams) == {}
    with pytest.raises(UserError, match=r"speakers is \[\] there, \['anna'\] here"):
        several = HParams(model="glow_tts", num_speakers=1, speakers=("anna",))
        require_compatible(SavedSettings(PATH, saved | {"num_speakers": 1}, SYMBOLS), several, SYMBOLS)


def test_a_warm_start_takes_what_fits_but_not_what_is_ignored() -> None:
    old = tiny_model(tiny_hparams(prenet_dim=10), seed=1)
    model = tiny_model(HPARAMS)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    fresh = warm_start(model, PATH, {"state_dict": old.state_dict()}, ("embedding.weight",))
    after = model.state_dict()
    assert "embedding.weight" in fresh and "decoder.prenet.layers.0.linear_layer.weight" in fresh
    assert "encoder.lstm.weight_ih_l0" not in fresh
    for name, value in after.items():
        torch.testing.assert_close(value, before[name] if name in fresh else old.state_dict()[name], rtol=0, atol=0)


def test_a_warm_start_from_which_nothing_fits_is_refused() -> None:
    with pytest.raises(UserError, match="none of its 1 weights fits"):
        warm_start(tiny_model(HPARAMS), PATH, {"model": {"x": torch.ones(1)}}, ())
