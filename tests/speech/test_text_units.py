from __future__ import annotations

import pytest

from speech.text_units import (
    CLAUSE_PAUSES,
    PARAGRAPH_PAUSE,
    SENTENCE_PAUSE,
    WORD_PAUSE,
    Unit,
    split_sentences,
    split_units,
    with_ending,
)


@pytest.mark.parametrize(
    ("text", "language", "sentences"),
    [
        ("One sentence", "en-us", ["One sentence"]),
        ("  One.  Two! Three?\nFour… five ", "en-us", ["One.", "Two!", "Three?", "Four… five"]),
        ("one. two! three", "en-us", ["one.", "two!", "three"]),
        ("Version 2.5 is out", "en-us", ["Version 2.5 is out"]),
        ('He said "Go!" Then he left.', "en-us", ['He said "Go!"', "Then he left."]),
        ("Mr. and Mrs. Smith met J. R. Ewing. Good.", "en-us", ["Mr. and Mrs. Smith met J. R. Ewing.", "Good."]),
        ("So am I. You too.", "en-us", ["So am I.", "You too."]),
        ("I was told no. Go home.", "en-us", ["I was told no.", "Go home."]),
        ("Так это я. Мы ушли.", "ru", ["Так это я.", "Мы ушли."]),
        ("Er kam am 3. Mai, z. B. zu Dr. Kurz in die Hauptstr. 5. Gut.", "de",
         ["Er kam am 3. Mai, z. B. zu Dr. Kurz in die Hauptstr. 5. Gut."]),
        ("Im Jahr 1999. Dann kam er.", "de", ["Im Jahr 1999.", "Dann kam er."]),
        ("В г. Москве на ул. Мира. Да.", "ru", ["В г. Москве на ул. Мира.", "Да."]),
        ("今日は。元気？はい", "ja", ["今日は。", "元気？", "はい"]),
        ("كيف حالك؟ أنا بخير.", "ar", ["كيف حالك؟", "أنا بخير."]),
        ("The answer is 5. Then we left.", "en-us", ["The answer is 5.", "Then we left."]),
        ("It is no. 5 on Dec. 5. Mt. Fuji is high.", "en-us", ["It is no. 5 on Dec. 5.", "Mt. Fuji is high."]),
        ("Vive el Sr. García. Sí.", "es", ["Vive el Sr. García.", "Sí."]),
        ("Тел. 123, 5 долл. США. Да.", "ru", ["Тел. 123, 5 долл. США.", "Да."]),
        ("", "en-us", []),
    ],
)  # fmt: skip
def test_sentences_end_where_they_do(text: str, language: str, sentences: list[str]) -> None:
    assert split_sentences(text, language) == sentences


def units(text: str, longest: int | None = None, language: str = "en-us") -> list[Unit]:
    return list(split_units(text, language, length_of=len, longest=longest))


def test_pauses_follow_the_punctuation_and_the_lines() -> None:
    assert units("One. Two?\nThree") == [
        Unit("One.", SENTENCE_PAUSE),
        Unit("Two?", PARAGRAPH_PAUSE),
        Unit("Three", PARAGRAPH_PAUSE),
    ]


def test_a_paragraph_is_split_when_it_is_needed() -> None:
    measured: list[str] = []

    def length_of(text: str) -> int:
        measured.append(text)
        return len(text)

    found = split_units("One two.\nThree four.\n[pause 2]\nFive.", "en-us", length_of=length_of, longest=5)
    assert next(found).text == "One" and "Five." not in measured
    assert [(u.text, u.pause_seconds) for u in found][2:] == [
        ("four.", PARAGRAPH_PAUSE + 2),
        ("Five.", PARAGRAPH_PAUSE),
    ]


def test_a_long_sentence_is_split_at_strong_marks_first_then_commas_then_conjunctions_then_words() -> None:
    strong = "when the rain came we ran, wet; the others stayed, dry"
    assert [u.text for u in units(strong, 30)] == ["when the rain came we ran,", "wet;", "the others stayed, dry"]
    assert [u.text for u in units("one two three, four five six", 16)] == ["one two three,", "four five six"]
    assert [u.text for u in units("the cat sat and the dog ran", 16)] == ["the cat sat", "and the dog ran"]
    assert [u.text for u in units("aa bb cc dd", 6)] == ["aa bb", "cc dd"]
    assert [u.text for u in units("incomprehensible", 6)] == ["incomprehensible"]


@pytest.mark.parametrize("longest", [12, 25, 40, 80])
def test_no_unit_is_longer_than_allowed_and_no_word_is_lost(longest: int) -> None:
    text = "The quick brown fox, which was rather old, jumps over: the lazy dog; and then — at last — it sleeps. " * 3
    found = units(text, longest)
    assert all(len(unit.text) <= longest for unit in found)
    assert " ".join(unit.text for unit in found).split() == text.split()


def test_numbers_stay_with_what_they_count() -> None:
    sentence = "they paid 3 million on May 5 1999 for 25 km of road"
    texts = [unit.text for unit in split_units(sentence, "en-us", length_of=len, longest=20)]
    assert len(texts) > 2 and " ".join(texts) == sentence
    assert not any(text[0].isdigit() or text[-1].isdigit() for text in texts)


@pytest.mark.parametrize("sentence", ["，".join(["今天天气很好我们去公园"] * 8) + "。", "今天" * 50])
def test_a_sentence_without_spaces_is_split_too(sentence: str) -> None:
    units = list(split_units(sentence, "cmn", length_of=len, longest=40))

    assert max(len(unit.text) for unit in units) <= 40
    assert "".join(unit.text for unit in units).replace(" ", "") == sentence


def test_the_parts_of_a_split_sentence_have_the_pauses_of_their_marks() -> None:
    found = units("one two three; four five six, seven eight nine ten", 16)
    assert [u.pause_seconds for u in found] == [CLAUSE_PAUSES[";"], CLAUSE_PAUSES[","], WORD_PAUSE, PARAGRAPH_PAUSE]


def test_pauses_can_be_written_into_a_text() -> None:
    assert units("One [pause 0.5] two.[pause 2]") == [Unit("One", 0.5), Unit("two.", 2.0)]
    assert units("[pause 1] One") == [Unit("One", PARAGRAPH_PAUSE)]
    assert units("One [pause 999] two")[0].pause_seconds == 30.0
    assert units("One [pause 1] [pause 3] two")[0].pause_seconds == 4.0
    assert [unit.pause_seconds for unit in units("One [pause] two [pause .25] three")][:2] == [0.5, 0.25]
    assert units("One [pause 0,5 s] two")[0].pause_seconds == units("One [pause 0.5s] two")[0].pause_seconds == 0.5


def test_lines_between_blank_lines_are_one_paragraph() -> None:
    assert [u.text for u in units("A line that\r\ngoes on.\r\n\r\nAnother.")] == ["A line that goes on.", "Another."]


def test_inline_phonemes_are_never_split() -> None:
    assert [u.text for u in units("say [[h@l'oU w3:ld]] now", 8)] == ["say", "[[h@l'oU w3:ld]]", "now"]


@pytest.mark.parametrize(
    ("text", "ending", "expected"),
    [
        ("hello", ".", "hello."),
        ("hello,", ".", "hello."),
        ("hello —", ".", "hello."),
        ("Hello?", ".", "Hello?"),
        ("hello", "", "hello"),
        ("hello,", "", "hello,"),
        ('"Go!"', ".", '"Go!"'),
        ("كيف حالك؟", ".", "كيف حالك؟"),
    ],
)
def test_a_unit_ends_as_training_texts_do(text: str, ending: str, expected: str) -> None:
    assert with_ending(text, ending) == expected
