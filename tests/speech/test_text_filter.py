from __future__ import annotations

import pytest

from speech.text_filter import describe_left_out, filter_text

LATIN = ("LATIN",)


@pytest.mark.parametrize(
    ("text", "language", "said", "left_out"),
    [
        ("Plain text, isn't it?", "en-us", "Plain text, isn't it?", ()),
        ("Good 😀 day →", "en-us", "Good  day ", ("😀", "→")),
        ("He said Привет, twice", "en-us", "He said , twice", ("Привет",)),
        ("5 € & 10 %", "de", "5 € & 10 %", ()),
        ("the fox (an old one) ran", "en-us", "the fox, an old one, ran", ()),
        ("the end (really).", "en-us", "the end, really.", ()),
        ("file(s) and f(x)", "en-us", "files and fx", ()),
        ("(Hello there.) Yes.", "en-us", "Hello there. Yes.", ()),
        ("I live in Москве. You too.", "en-us", "I live in . You too.", ("Москве",)),
        ("see https://пример.рф/да now", "en-us", "see now", ("https://пример.рф/да",)),
        ("5 µm", "en-us", "5 µm", ()),
        ("see www.example.org/a-b.", "en-us", "see example dot org slash a dash b.", ()),
        ("schreib an x@y.de, bitte", "de", "schreib an x at y Punkt de, bitte", ()),
        ("voir https://example.fr/un", "fr", "voir example fr un", ()),
        ("a [[h@l'oU]] b [pause 0.5] c", "en-us", "a [[h@l'oU]] b [pause 0.5] c", ()),
        ("Born in 1999[12] in London.[1] He won.", "en-us", "Born in 1999 in London. He won.", ()),
        ("Section 12(3), x[i]", "en-us", "Section 12 3 , x i", ()),
        ("Call (555) 123-4567.", "en-us", "Call 555 123-4567.", ()),
        ("===== **bold** and *slanted* 3 * 4 a_b", "en-us", "bold and slanted 3 * 4 a_b", ()),
        ("−5°, 10⁻³, 5 μm, 10Ω", "en-us", "−5°, 10⁻³, 5 µm, 10Ω", ()),
        ("I👍you", "en-us", "I you", ("👍",)),
        ("a [pause] b", "en-us", "a [pause] b", ()),
        ("", "en-us", "", ()),
    ],
)
def test_what_has_no_sound_is_left_out_and_named(
    text: str, language: str, said: str, left_out: tuple[str, ...]
) -> None:
    filtered = filter_text(text, language, LATIN)
    assert " ".join(filtered.text.split()) == " ".join(said.split()) and filtered.left_out == left_out


def test_scripts_of_the_training_texts_stay_and_so_do_all_where_none_is_known() -> None:
    assert filter_text("Слово", "ru", ("CYRILLIC",)).left_out == ()
    assert filter_text("Слово", "en-us", None).left_out == ()


def test_roman_numerals_and_degrees_are_read_in_every_script() -> None:
    filtered = filter_text("В XIX веке, Александр II, 20 °C, но не WWW", "ru", ("CYRILLIC",))
    assert filtered.text.rstrip() == "В XIX веке, Александр II, 20 °C, но не" and filtered.left_out == ("WWW",)


def test_a_greek_question_ends_as_one() -> None:
    assert filter_text("Καλά; Ναι.", "el", ("GREEK",)).text == "Καλά? Ναι."


def test_only_the_foreign_part_of_a_text_without_spaces_is_left_out() -> None:
    filtered = filter_text("我喜欢AI技术,也喜欢音乐。", "cmn", ("CJK",))
    assert filtered.text == "我喜欢技术,也喜欢音乐。" and filtered.left_out == ("AI",)


def test_many_pieces_are_named_in_one_line() -> None:
    line = describe_left_out([f"w{i}" for i in range(8)])
    assert line == "left out, since this voice cannot say it: w0, w1, w2, w3, w4 and 3 more"
