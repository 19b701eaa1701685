"""The symbol sets: NVIDIA's order, no duplicates, and all characters that espeak-ng writes."""

from __future__ import annotations

import pytest

from corpus.text import espeak
from corpus.text.symbols import ENGLISH, PAD, PHONEMES, RUSSIAN, STRESS


def test_english_is_the_148_symbols_of_nvidia() -> None:
    assert len(ENGLISH) == 148
    assert "".join(ENGLISH[:12]) == "_-!'(),.:;? "


@pytest.mark.parametrize(
    ("index", "symbol"),
    [
        *((0, "_"), (1, "-"), (2, "!"), (3, "'"), (11, " "), (12, "A"), (37, "Z"), (38, "a"), (63, "z")),
        *((64, "@AA"), (65, "@AA0"), (67, "@AA2"), (68, "@AE"), (84, "@AY"), (88, "@B"), (91, "@DH"), (147, "@ZH")),
    ],
)
def test_english_symbols_have_the_ids_of_nvidia(index: int, symbol: str) -> None:
    assert ENGLISH[index] == symbol


def test_russian_has_the_33_letters_and_the_stress_mark() -> None:
    assert [symbol for symbol in RUSSIAN if symbol.isalpha()] == list("абвгдеёжзийклмнопрстуфхцчшщъыьэюя")
    assert STRESS in RUSSIAN


@pytest.mark.parametrize("symbols", [ENGLISH, RUSSIAN, PHONEMES])
def test_a_set_starts_with_the_padding_and_has_no_duplicates(symbols: tuple[str, ...]) -> None:
    assert symbols[0] == PAD
    assert len(set(symbols)) == len(symbols)


@pytest.mark.parametrize("symbols", [RUSSIAN, PHONEMES])
def test_symbols_are_single_characters(symbols: tuple[str, ...]) -> None:
    assert all(len(symbol) == 1 for symbol in symbols)


@pytest.mark.parametrize(
    ("language", "wordlist"),
    [
        *(("ar", "ar"), ("bg", "bg"), ("cmn", "zh"), ("cs", "cs"), ("da", "da"), ("de", "de"), ("el", "el")),
        *(("en-us", "en"), ("es", "es"), ("fa", "fa"), ("fi", "fi"), ("fr-fr", "fr"), ("hi", "hi"), ("hu", "hu")),
        *(("it", "it"), ("ja", "ja"), ("ko", "ko"), ("lt", "lt"), ("nl", "nl"), ("pl", "pl"), ("pt-br", "pt")),
        *(("ru", "ru"), ("sv", "sv"), ("ta", "ta"), ("tr", "tr"), ("uk", "uk"), ("ur", "ur"), ("vi", "vi")),
    ],
)
def test_the_phoneme_set_has_all_characters_that_espeak_writes(language: str, wordlist: str) -> None:
    from wordfreq import top_n_list

    ipa = espeak.phonemize(" ".join(top_n_list(wordlist, 200)) + ".", language)
    assert len(ipa) > 200
    assert set(ipa) <= set(PHONEMES) - {PAD}
