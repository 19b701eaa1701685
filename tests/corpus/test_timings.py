"""corpus/timings.py: timings on disk, and their assignment to characters of IPA."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from corpus.text import espeak
from corpus.text.espeak import TimedLabel
from corpus.timings import Timings, align_characters, read_timings, write_timings


def phones(*labels: str) -> list[TimedLabel]:
    """Return consecutive phones of one second each."""
    return [TimedLabel(label, float(start), float(start + 1)) for start, label in enumerate(labels)]


def starts(ipa: str, phones: list[TimedLabel]) -> list[int | None]:
    """Return the start of every character."""
    return [None if span is None else int(span[0]) for span in align_characters(ipa, phones)]


def test_written_timings_can_be_read(tmp_path: Path) -> None:
    timings = Timings(
        phones=[TimedLabel("ˈɑː", 0.0, 0.25), TimedLabel("k", 0.25, 0.5)], words=[TimedLabel("ёж", 0.0, 0.5)]
    )
    write_timings(tmp_path / "one.json", timings)
    assert read_timings(tmp_path / "one.json") == timings
    rows = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert rows == {"phones": [["ˈɑː", 0.0, 0.25], ["k", 0.25, 0.5]], "words": [["ёж", 0.0, 0.5]]}


def test_every_character_of_a_phone_has_its_span() -> None:
    assert align_characters("aʊtʃ", [TimedLabel("aʊ", 0.1, 0.3), TimedLabel("tʃ", 0.4, 0.5)]) == [
        (0.1, 0.3),
        (0.1, 0.3),
        (0.4, 0.5),
        (0.4, 0.5),
    ]


def test_spaces_and_marks_have_no_span() -> None:
    assert starts("a, b!", phones("a", "b")) == [0, None, None, 1, None]


def test_stress_and_length_marks_have_the_span_of_their_phone() -> None:
    assert starts("tˈɑːk", phones("t", "ˈɑː", "k")) == [0, 1, 1, 1, 2]


def test_marks_that_only_the_ipa_has_get_the_span_of_their_phone() -> None:
    assert starts("t ˌi̯ːk2", phones("t", "i", "k")) == [0, None, 1, 1, 1, 1, 2, 2]


def test_marks_that_only_the_phones_have_shift_no_span() -> None:
    assert starts("tik", phones("t", "ˈiː", "k")) == [0, 1, 2]


def test_a_modifier_letter_can_be_a_phone_by_itself() -> None:
    assert starts("kʲi", phones("k", "ʲ", "i")) == [0, 1, 2]


def test_only_a_character_without_a_phone_is_unmatched() -> None:
    assert starts("abcd", phones("a", "b", "d")) == [0, 1, None, 2]


def test_repeated_sounds_are_matched_in_their_order() -> None:
    labels = ["m", "ˈa", "m", "a"] * 60
    ipa = "x " + "mˈama " * 60
    assert [start for start in starts(ipa, phones(*labels)) if start is not None] == [
        start for word in range(60) for start in (4 * word, 4 * word + 1, 4 * word + 1, 4 * word + 2, 4 * word + 3)
    ]


def test_composed_and_decomposed_diacritics_match() -> None:
    ipa = unicodedata.normalize("NFC", "bo\u0303a")
    assert len(ipa) == 3
    assert starts(ipa, phones("b", "o\u0303", "a")) == [0, 1, 2]


def test_empty_ipa_and_marks_without_phones_have_no_span() -> None:
    assert align_characters("", []) == []
    assert align_characters("ˈ.", []) == [None, None]
    assert align_characters("ːa", phones("a")) == [None, (0.0, 1.0)]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("All of the people call, don't they?", "en-us"),
        ("Ещё мягких французских булок!", "ru"),
        ("Kukka on täällä, missä sinä olet.", "fi"),
        ("Україна має багато річок.", "uk"),
    ],
)
def test_every_letter_of_real_speech_has_a_span_in_order(text: str, language: str) -> None:
    ipa = espeak.phonemize(text, language)
    spans = align_characters(ipa, espeak.synthesize(text, language).phones)
    unmatched = {character for character, span in zip(ipa, spans, strict=True) if span is None}
    assert unmatched <= set(espeak.MARKS + " ")
    starts = [span[0] for span in spans if span is not None]
    assert starts == sorted(starts)
