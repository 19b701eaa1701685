from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.text.frontend import text_frontend
from hparams import UserError
from models import build_model
from models.weights import SavedSettings
from speech.synthesizer import PAUSE_SECONDS, Synthesizer
from speech.voice import Voice
from tests.support.tiny import NO_DROPOUT, tiny_hparams

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
    n_pause = round(PAUSE_SECONDS * synthesizer.hparams.sampling_rate)
    assert len(two) == 2 * len(one) + n_pause
    assert not two[len(one) : len(one) + n_pause].any()


def test_parts_without_symbols_are_left_out() -> None:
    synthesizer = make_synthesizer(gate_threshold=1.0)
    (plain,), (with_snowman,) = synthesizer.speak(["Good words."]), synthesizer.speak(["Good words. ☃"])
    assert len(plain) == len(with_snowman)


def test_unknown_symbols_and_cut_sentences_are_reported() -> None:
    warnings: list[str] = []
    make_synthesizer(gate_threshold=1.0).speak(["good", "good ☃"], warn=warnings.append)
    assert warnings[0] == "text 1: symbol '☃' is not in the voice's symbol set; it is left out"
    assert "'good': the voice did not end by itself and was cut" in warnings


def test_a_text_without_any_known_symbol_is_refused() -> None:
    with pytest.raises(UserError, match="nothing that can be spoken"):
        make_synthesizer().speak(["good", "☃"])


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
