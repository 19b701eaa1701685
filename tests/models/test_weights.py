from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hparams import HParams, UserError
from models.weights import SavedSettings, changed_settings, load_all_weights, require_compatible, warm_start
from tests.support.tiny import SYMBOLS, tiny_hparams, tiny_model

PATH = Path("old.pt")
HPARAMS = tiny_hparams()


def test_weights_of_another_shape_are_refused_by_name_and_none_is_loaded() -> None:
    model, other = tiny_model(HPARAMS), tiny_model(tiny_hparams(prenet_dim=10), seed=1)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(
        UserError, match=r"old.pt is of another model: .*prenet.*\[10, 12\] in the checkpoint, \[8, 12\] here"
    ):
        load_all_weights(model, PATH, {"model": other.state_dict()})
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_missing_and_unknown_weights_are_named_up_to_three_and_counted() -> None:
    weights = dict(tiny_model(HPARAMS).state_dict())
    weights["vocoder.weight"] = weights.pop("embedding.weight")
    with pytest.raises(
        UserError, match="embedding.weight is missing in the checkpoint; vocoder.weight does not exist in this model$"
    ):
        load_all_weights(tiny_model(HPARAMS), PATH, {"model": weights})
    with pytest.raises(UserError, match=r"… \d\d differences in all$"):
        load_all_weights(tiny_model(HPARAMS), PATH, {"model": {"x": torch.ones(1)}})


@pytest.mark.parametrize("state", [{}, {"model": 5}, {"state_dict": {"w": "text"}}, {"model": [torch.ones(1)]}])
def test_a_dictionary_without_weights_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no weights found"):
        load_all_weights(tiny_model(HPARAMS), PATH, state)


def saved_settings(symbols: tuple[str, ...] = SYMBOLS, **changes: Any) -> SavedSettings:
    return SavedSettings(PATH, tiny_hparams(**changes).model_dump(mode="json"), symbols)


def test_other_settings_than_architecture_and_audio_may_differ() -> None:
    require_compatible(saved_settings(learning_rate=0.5, batch_size=7, p_prenet_dropout=0.1), HPARAMS, SYMBOLS)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prenet_dim": 16}, "prenet_dim is 16 in the checkpoint, 8 here"),
        ({"sampling_rate": 16000}, "sampling_rate is 16000 in the checkpoint, 22050 here"),
        (
            {"n_frames_per_step": 5, "hop_length": 200},
            "n_frames_per_step is 5 in the checkpoint, 2 here, hop_length is 200",
        ),
    ],
)
def test_another_architecture_or_audio_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        require_compatible(saved_settings(**changes), HPARAMS, SYMBOLS)


def test_other_symbols_are_refused_even_if_their_number_is_the_same() -> None:
    with pytest.raises(UserError, match="trained on 12 symbols"):
        require_compatible(saved_settings(tuple(reversed(SYMBOLS))), HPARAMS, SYMBOLS)


def test_changed_settings_are_listed_with_old_and_new_value() -> None:
    state = {"hparams": tiny_hparams(learning_rate=0.5).model_dump(mode="json")}
    assert changed_settings(state, HPARAMS) == {"learning_rate": [0.5, 0.01]}


def test_settings_missing_in_an_old_checkpoint_count_as_defaults() -> None:
    hparams = HParams(model="glow_tts")
    saved = hparams.model_dump(mode="json")
    del saved["speakers"], saved["alignment_prior"]
    require_compatible(SavedSettings(PATH, saved, SYMBOLS), hparams, SYMBOLS)
    assert changed_settings({"hparams": saved}, hparams) == {}
    with pytest.raises(UserError, match=r"speakers is \[\] in the checkpoint, \['anna'\] here"):
        several = HParams(model="glow_tts", num_speakers=1, speakers=("anna",))
        require_compatible(SavedSettings(PATH, saved | {"num_speakers": 1}, SYMBOLS), several, SYMBOLS)


def test_a_warm_start_loads_weights_that_fit_and_are_not_ignored() -> None:
    old = tiny_model(tiny_hparams(prenet_dim=10), seed=1)
    model = tiny_model(HPARAMS)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    not_loaded = warm_start(model, PATH, {"state_dict": old.state_dict()}, ("embedding.weight",))
    after = model.state_dict()
    assert "embedding.weight" in not_loaded and "decoder.prenet.layers.0.linear_layer.weight" in not_loaded
    assert "encoder.lstm.weight_ih_l0" not in not_loaded
    for name, value in after.items():
        torch.testing.assert_close(
            value, before[name] if name in not_loaded else old.state_dict()[name], rtol=0, atol=0
        )


def test_a_warm_start_ignores_all_layers_whose_names_begin_so() -> None:
    model = tiny_model(HPARAMS)
    not_loaded = warm_start(model, PATH, {"model": tiny_model(HPARAMS, seed=1).state_dict()}, ("decoder.", "postnet."))
    assert set(not_loaded) == {name for name in model.state_dict() if name.startswith(("decoder.", "postnet."))}


def test_a_warm_start_without_fitting_weights_is_refused() -> None:
    with pytest.raises(UserError, match="none of its 1 weights fits"):
        warm_start(tiny_model(HPARAMS), PATH, {"model": {"x": torch.ones(1)}}, ())
