from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hparams import HParams, UserError, build_hparams, parse_overrides
from recipes import RECIPES


def error_message(**values: Any) -> str:
    with pytest.raises(UserError) as caught:
        build_hparams(values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_equal_those_of_the_reference() -> None:
    hparams = HParams()
    assert (hparams.guide_loss_weight, hparams.learning_rate, hparams.grad_clip_thresh) == (2.5, 1e-4, 1.0)
    assert (hparams.batch_size, hparams.p_attention_dropout, hparams.n_frames_per_step) == (32, 0.1, 1)
    assert (hparams.weight_decay, hparams.sampling_rate, hparams.mel_fmax) == (1e-6, 22050, 8000.0)


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [("learning_rat", "learning_rate"), ("batchsize", "batch_size"), ("gate_treshold", "gate_threshold")],
)
def test_an_unknown_name_is_refused_with_the_nearest_valid_one(typo: str, nearest: str) -> None:
    assert f"there is no {typo!r}, the nearest is {nearest!r}" in error_message(**{typo: 1})


@pytest.mark.parametrize("name", ["x", "", "ключ", "zzzzzzzz"])
def test_an_unknown_name_that_resembles_no_field_is_refused_too(name: str) -> None:
    assert f"there is no {name!r}, the nearest is" in error_message(**{name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", "many"),
        ("batch_size", "2.5"),
        ("learning_rate", "fast"),
        ("learning_rate", "nan"),
        ("learning_rate", "inf"),
        ("mask_padding", "perhaps"),
        ("precision", "float8"),
        ("model", "wavenet"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_name(name: str, value: str) -> None:
    assert f"{name}={value!r}" in error_message(**{name: value})


def test_all_problems_are_listed_in_one_error() -> None:
    message = error_message(batch_siez=3, learning_rate="fast", encoder_kernel_size=4, p_prenet_dropout=1.0)
    for part in ("batch_siez", "learning_rate='fast'", "encoder_kernel_size=4: must be odd", "p_prenet_dropout=1.0"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("batch_size", 0), ("batch_size", -3), ("learning_rate", 0), ("learning_rate", -1e-4)],
        *[("grad_clip_thresh", 0), ("n_frames_per_step", 0), ("epochs", 0), ("guide_loss_weight", -1)],
        *[("p_decoder_dropout", 1.0), ("gate_threshold", 0), ("encoder_embedding_dim", 5), ("seed", -1)],
        *[("validation_percent", 51), ("keep_checkpoints", 0), ("iters_per_checkpoint", 0)],
    ],
)
def test_values_out_of_bounds_are_refused(name: str, value: float) -> None:
    assert name in error_message(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("learning_rate", 0.1), ("learning_rate", 10.0), ("grad_clip_thresh", 1e6), ("batch_size", 1)],
        *[("guide_loss_weight", 0), ("gate_threshold", 1.0), ("n_frames_per_step", 20), ("validation_percent", 0)],
    ],
)
def test_unusual_values_within_bounds_are_accepted(name: str, value: float) -> None:
    assert getattr(build_hparams({name: value}), name) == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mel_fmax": 9000, "sampling_rate": 16000}, "mel_fmax 9000 Hz is above half of sampling_rate 16000 Hz"),
        ({"mel_fmin": 8000}, "mel_fmin 8000 Hz is not below mel_fmax 8000 Hz"),
        ({"win_length": 2048}, "hop_length <= win_length <= filter_length"),
        ({"hop_length": 1025}, "hop_length <= win_length <= filter_length"),
        ({"min_utterance_seconds": 30}, "min_utterance_seconds is not below max_utterance_seconds"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    assert message in error_message(**values)


def test_a_language_may_be_written_in_capitals() -> None:
    assert build_hparams({"language": "en-US"}).language == "en-us"


def test_hparams_are_immutable() -> None:
    with pytest.raises(ValidationError):
        HParams().batch_size = 3  # type: ignore[misc]


def test_hparams_survive_a_round_trip_through_json() -> None:
    hparams = build_hparams(RECIPES["tacotron2"].presets["demo"], {"ignore_layers": "a.weight;b.weight"})
    assert HParams.model_validate_json(hparams.model_dump_json()) == hparams
    assert build_hparams(hparams.model_dump(mode="json")) == hparams


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_splits": 3}, "num_splits 3 is not even"),
        ({"num_splits": 6}, "no divisor of 160 squeezed channels"),
        ({"hidden_channels_enc": 191}, "hidden_channels_enc 191 is no multiple of encoder_num_heads"),
        ({"kernel_size_dec": 4}, "kernel_size_dec 4 is not odd"),
    ],
)
def test_settings_with_which_the_flow_cannot_be_built_are_refused(values: dict[str, Any], message: str) -> None:
    assert message in error_message(model="glow_tts", **values)
    assert HParams(**values).model == "tacotron2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" , ,", {}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        (" a = 1 , b=2, ", {"a": "1", "b": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
        ("a=1,a=2", {"a": "2"}),
        ("a=null", {"a": None}),
    ],
)
def test_overrides_are_split_at_commas_and_at_the_first_equals_sign(text: str, expected: dict[str, str | None]) -> None:
    assert parse_overrides(text) == expected


@pytest.mark.parametrize("text", ["a", "a=1,b", "learning_rate 5"])
def test_an_override_without_an_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected NAME=VALUE,NAME=VALUE; .* has no '='"):
        parse_overrides(text)


def test_overrides_are_converted_to_the_types_of_their_fields() -> None:
    overrides = parse_overrides("guide_loss_weight=5.0,batch_size=8,mask_padding=false,ignore_layers=a;b")
    hparams = build_hparams(overrides)
    assert (hparams.guide_loss_weight, hparams.batch_size) == (5.0, 8)
    assert hparams.mask_padding is False and hparams.ignore_layers == ("a", "b")
