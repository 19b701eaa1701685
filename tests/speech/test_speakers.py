from __future__ import annotations

import pytest

from hparams import HParams, UserError
from speech.speakers import choose_speaker, speaker_inputs

SEVERAL = HParams(model="glow_tts", num_speakers=3, speakers=("anna", "bert", "carl"))


def test_the_first_speaker_is_chosen_by_default() -> None:
    assert choose_speaker(None, SEVERAL) == "anna"
    assert choose_speaker("bert", SEVERAL) == "bert"


def test_the_input_is_the_speakers_place_in_the_embedding() -> None:
    assert speaker_inputs("carl", SEVERAL) == {"speakers": 2}


def test_a_voice_of_one_speaker_has_no_speaker_input_and_takes_no_name() -> None:
    assert choose_speaker(None, HParams()) is None and speaker_inputs(None, HParams()) == {}
    with pytest.raises(UserError, match="this voice has one speaker only"):
        choose_speaker("anna", HParams())


def test_an_unknown_name_is_refused_with_the_first_ten_of_many() -> None:
    names = tuple(f"s{i:02d}" for i in range(40))
    with pytest.raises(UserError, match=r"s08, s09 and 30 more"):
        choose_speaker("nobody", HParams(model="glow_tts", num_speakers=40, speakers=names))
