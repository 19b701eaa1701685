"""The text frontend: which alphabet a language gets, what is encoded, and what is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.text.cleaning import clean
from corpus.text.frontend import TextFrontend, UnknownSymbol, text_frontend, unknown_symbols
from corpus.text.symbols import ENGLISH, PHONEMES, RUSSIAN
from corpus.utterances import Utterance
from hparams import HParams, UserError


def make_frontend(language: str, **hparams: Any) -> TextFrontend:
    return text_frontend(HParams(language=language, **hparams))


def decode(frontend: TextFrontend, text: str) -> str:
    return "".join(frontend.symbols[id_] for id_ in frontend.encode(text))


@pytest.mark.parametrize(
    ("language", "choice", "symbols"),
    [
        ("en-us", "auto", ENGLISH),
        ("en-gb", "auto", ENGLISH),
        ("EN-US", "graphemes", ENGLISH),
        ("ru", "auto", RUSSIAN),
        ("de", "auto", PHONEMES),
        ("cmn", "auto", PHONEMES),
        ("en-us", "phonemes", PHONEMES),
        ("ru", "phonemes", PHONEMES),
    ],
)
def test_the_language_and_the_choice_decide_the_symbols(language: str, choice: str, symbols: tuple[str, ...]) -> None:
    assert make_frontend(language, text_frontend=choice).symbols == symbols


def test_graphemes_of_another_language_are_refused_with_advice() -> None:
    with pytest.raises(UserError, match="text_frontend=phonemes"):
        make_frontend("de", text_frontend="graphemes")


def test_an_unknown_language_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'tlh-xx'"):
        make_frontend("tlh-xx")


def test_english_is_encoded_in_lower_case_ascii_with_the_ids_of_nvidia() -> None:
    frontend = make_frontend("en-us")
    assert frontend.encode("Café!") == [40, 38, 43, 42, 2]
    assert decode(frontend, "Dr. Núñez paid $5 — twice.") == "doctor nunez paid five dollars - twice."


def test_american_and_british_dates_differ() -> None:
    assert make_frontend("en-us").normalize("12/05/2021") == "december fifth, twenty twenty-one"
    assert make_frontend("en-gb").normalize("12/05/2021") == "may twelfth, twenty twenty-one"


def test_russian_keeps_yo_and_stress_marks() -> None:
    assert decode(make_frontend("ru"), "Ещё З+амок, 5 км") == "ещё за\u0301мок, пять километров"


def test_english_phonemes_are_made_from_the_normalised_words() -> None:
    frontend = make_frontend("en-us", text_frontend="phonemes")
    assert frontend.normalize("Dr. Smith paid $2.") == frontend.normalize("Doctor Smith paid two dollars.")
    assert frontend.normalize("Polish") != frontend.normalize("polish")


def test_russian_phonemes_do_not_depend_on_stress_marks() -> None:
    frontend = make_frontend("ru", text_frontend="phonemes")
    assert frontend.normalize("му\u0301ка, 5 км") == frontend.normalize("мука, пять километров")


def test_a_dash_is_a_pause_in_phonemes() -> None:
    frontend = make_frontend("de")
    assert frontend.normalize("Ja — nein") == frontend.normalize("Ja, nein")


def test_other_languages_leave_numbers_to_espeak() -> None:
    frontend = make_frontend("de")
    assert frontend.normalize("5 Tage") == frontend.normalize("fünf Tage")
    assert frontend.unknown("5 Tage, 3,5 Äpfel (ja)!") == []


def test_unknown_symbols_are_listed_and_left_out_of_the_encoding() -> None:
    frontend = make_frontend("en-us")
    assert frontend.unknown("Say 你 or ☺ or ☺_") == ["你", "☺", "☺", "_"]
    assert decode(frontend, "Say 你 or ☺_ it") == "say or it"


@pytest.mark.parametrize("text", ["", "...", "你好", "— !?", "_", "\u0301"])
@pytest.mark.parametrize("language", ["en-us", "ru"])
def test_text_without_a_letter_encodes_to_no_symbols(text: str, language: str) -> None:
    assert make_frontend(language).encode(text) == []


def test_unknown_symbols_are_counted_with_the_first_three_utterances() -> None:
    texts = ["a ☺☺", "b", "c ☺ ☃", "d ☺", "e ☺"]
    utterances = [Utterance(id=f"u{i}", audio_path=Path("x.wav"), text=text) for i, text in enumerate(texts)]
    unknown = unknown_symbols(make_frontend("en-us"), utterances)
    assert unknown == {"☺": UnknownSymbol(5, ("u0", "u2", "u3")), "☃": UnknownSymbol(1, ("u2",))}
    assert list(unknown) == ["☺", "☃"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("e\u0301", "é"),
        ("it’s “so”", 'it\'s "so"'),
        ("a\u00ad\u200b\ufeffb", "ab"),
        ("a\x00b\tc\u00a0 d\n", "a b c d"),
        ("10 — 20", "10-20"),
        ("so — what", "so - what"),
        ("你好，世界。", "你好, 世界."),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u200cb", "ab"),
        ("\ud800", "\ufffd"),
    ],
)
def test_cleaning_removes_only_characters_that_are_not_read(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


_LETTERS = {
    "en-us": "abcdefghijklmnopqrstuvwxyzABCDEFÉüß",
    "ru": "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁ",
}
_SIGNS = " 0123456789.,:;!?'\"()[]-–—&+/@#№§%°$€£₽½²"


@pytest.mark.parametrize("language", ["en-us", "ru"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_letters_numbers_and_signs_are_all_known(language: str, data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet=_LETTERS[language] + _SIGNS, max_size=30))
    assert make_frontend(language).unknown(text) == []


@pytest.mark.parametrize("language", ["en-us", "ru"])
@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=30))
def test_any_text_encodes_to_ids_of_the_set_without_padding(language: str, text: str) -> None:
    frontend = make_frontend(language)
    assert all(0 < id_ < len(frontend.symbols) for id_ in frontend.encode(text))


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=20))
def test_any_text_can_be_encoded_as_phonemes(text: str) -> None:
    frontend = make_frontend("de")
    assert all(0 < id_ < len(frontend.symbols) for id_ in frontend.encode(text))


def test_dots_within_a_sentence_leave_no_pause_in_other_languages() -> None:
    frontend = text_frontend(HParams(language="fr"))
    assert frontend.normalize("le 24.12.2023 chez J. Dupont") == frontend.normalize("le 24 12 2023 chez J Dupont")
    assert "." not in frontend.normalize("chez J. Dupont")
