from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.text.frontend import text_frontend
from corpus.text.statistics import TextStatistics
from hparams import UserError
from models import TrainableModel, build_model
from models.weights import SavedSettings
from speech import decoding
from speech.synthesizer import Synthesizer
from speech.text_units import SENTENCE_PAUSE
from speech.voice import Voice
from tests.support.tiny import GLOW, NO_DROPOUT, tiny_hparams

CPU = torch.device("cpu")


def make_voice(**changes: Any) -> Voice:
    hparams = tiny_hparams(**NO_DROPOUT, griffin_lim_iterations=2, **changes)
    symbols = text_frontend(hparams).symbols
    torch.manual_seed(0)
    model = build_model(hparams, len(symbols)).eval()
    return Voice(model, hparams, SavedSettings(Path("x.safetensors"), hparams.model_dump(mode="json"), symbols), step=1)


def make_synthesizer(**changes: Any) -> Synthesizer:
    return Synthesizer(make_voice(**changes), CPU)


def test_every_text_becomes_a_wave_and_the_same_text_the_same_wave() -> None:
    synthesizer = make_synthesizer()
    waves = synthesizer.speak(["good words", "more"])
    assert len(waves) == 2 and all(len(wave) > 0 for wave in waves)
    assert np.array_equal(synthesizer.speak(["good words", "more"])[0], waves[0])


def test_sentences_are_separated_by_a_pause() -> None:
    synthesizer = make_synthesizer(gate_threshold=1.0)  # every sentence has the greatest length
    (one,), (two,) = synthesizer.speak(["Good words."]), synthesizer.speak(["Good words. Good words."])
    n_pause = round(SENTENCE_PAUSE * synthesizer.hparams.sampling_rate)
    assert len(two) == 2 * len(one) + n_pause
    assert not two[len(one) : len(one) + n_pause].any()


def test_parts_without_symbols_are_left_out() -> None:
    synthesizer = make_synthesizer(gate_threshold=1.0)
    (plain,), (with_snowman,) = synthesizer.speak(["Good words."]), synthesizer.speak(["Good words. ☃"])
    assert len(plain) == len(with_snowman)


def test_unknown_symbols_and_cut_sentences_are_reported() -> None:
    warnings: list[str] = []
    make_synthesizer(gate_threshold=1.0).speak(["good", "good ☃"], warn=warnings.append)
    assert warnings[0] == "text 1: left out, since this voice cannot say it: ☃"
    assert "'good': the voice does not end by itself" in warnings


def test_a_text_without_any_known_symbol_is_refused() -> None:
    with pytest.raises(UserError, match="nothing that can be spoken"):
        make_synthesizer().speak(["☃"])


def test_of_several_texts_one_that_cannot_be_said_is_named() -> None:
    warnings: list[str] = []
    first, second = make_synthesizer().speak(["☃", "good"], warn=warnings.append)
    assert len(first) == 0 and len(second) > 0
    assert "text 0: '☃' holds nothing that can be spoken by this voice" in warnings


def test_the_symbols_of_the_voice_have_to_be_those_of_its_front_end() -> None:
    voice = make_voice()
    with pytest.raises(UserError, match="symbols"):
        Synthesizer(Voice(voice.model, tiny_hparams(language="ru"), voice.saved, step=1), CPU)


def test_mels_that_are_not_finite_are_refused() -> None:
    voice = make_voice()
    with torch.no_grad():
        next(voice.model.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match=r"x\.safetensors: this voice produces values that are not finite"):
        Synthesizer(voice, CPU).speak(["good"])


def test_a_speaker_is_chosen_by_name() -> None:
    changes: dict[str, Any] = {"model": "glow_tts", "num_speakers": 2, "speakers": ("anna", "bert")}
    synthesizer = make_synthesizer(**changes, hidden_channels_enc=8, inference_noise_scale=0.0, num_flow_blocks_dec=1)
    (default,), (anna,) = synthesizer.speak(["good"]), synthesizer.speak(["good"], speaker="anna")
    assert np.array_equal(default, anna)
    with pytest.raises(UserError, match="speaker zoe"):
        synthesizer.speak(["good"], speaker="zoe")


STATISTICS = TextStatistics(longest_symbols=12, seconds_per_symbol=0.08, ending=".", scripts=("LATIN",))


def test_a_text_is_streamed_in_units_no_longer_than_the_training_texts() -> None:
    voice = replace(make_voice(), text_statistics=STATISTICS)
    units = list(Synthesizer(voice, CPU).stream("Good words, good words and more"))
    assert [unit.text for unit in units] == ["Good words.", "good words.", "and more."]
    assert [unit.pause_seconds for unit in units] == [0.15, 0.05, 0.6]
    assert all(len(unit.wave) > 0 for unit in units)


def test_inline_phonemes_are_said_by_phoneme_voices_and_unknown_ones_are_named() -> None:
    warnings: list[str] = []
    phonemes = make_synthesizer(text_frontend="phonemes")
    phonemes.speak(["say [[h@l'oU]] and [[həlˈoʊ]] and [[ɮ\N{SNOWMAN}]]"], warn=warnings.append)
    assert any("symbol '☃' is not in the voice's symbol set" in warning for warning in warnings)
    with pytest.raises(UserError, match="this voice reads letters"):
        make_synthesizer().speak(["say [[h@l'oU]]"])


def test_words_in_another_script_are_left_out_and_named() -> None:
    warnings: list[str] = []
    voice = replace(make_voice(), text_statistics=STATISTICS)
    Synthesizer(voice, CPU).speak(["Good Привет words"], warn=warnings.append)
    assert warnings[0] == "text 0: left out, since this voice cannot say it: Привет"


def test_speed_changes_the_length_of_models_with_durations_and_is_refused_by_others() -> None:
    voice = make_voice(**GLOW | {"inference_noise_scale": 0.0, "max_decoder_steps": 2_000})
    with torch.no_grad():
        dict(voice.model.named_parameters())["encoder.duration_predictor.proj.bias"].fill_(2.5)
    glow = Synthesizer(voice, CPU)
    (normal,), (fast,), (again,) = (glow.speak(["good words"], speed=x) for x in (1.0, 2.0, 1.0))
    assert len(fast) == pytest.approx(len(normal) / 2, rel=0.15) and len(again) == len(normal)
    with pytest.raises(UserError, match="predicts no durations"):
        make_synthesizer().speak(["good"], speed=1.5)
    with pytest.raises(UserError, match="expected 0.25 to 4"):
        glow.speak(["good"], speed=9.0)


def test_a_decode_that_fails_is_tried_again_with_other_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def evaluation_mode(model: TrainableModel, seed: int) -> AbstractContextManager[None]:
        seeds.append(seed)
        return decoding.evaluation_mode(model, seed)

    monkeypatch.setattr("speech.unit_decoder.evaluation_mode", evaluation_mode)
    synthesizer = make_synthesizer(gate_threshold=1.0)
    synthesizer.speak(["good"])
    assert seeds == [synthesizer.hparams.seed + i for i in range(4)]
