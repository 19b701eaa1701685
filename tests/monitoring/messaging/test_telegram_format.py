"""Texts within Telegram's limits: nothing is lost, and no character is split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitoring.messaging.telegram_format import (
    MAX_CAPTION_LENGTH,
    replace_invalid,
    split_caption,
    split_text,
    to_html,
    utf16_length,
)


def test_a_short_text_is_not_split() -> None:
    assert split_text("title", ["a", "b"]) == ["title\na\nb"]


def test_texts_are_split_between_lines_then_words_then_characters() -> None:
    assert split_text("t", ["a" * 5, "b" * 5], max_length=8) == ["t\naaaaa", "bbbbb"]
    assert split_text("one two three", [], max_length=8) == ["one two ", "three"]
    assert split_text("x" * 20, [], max_length=8) == ["x" * 8, "x" * 8, "x" * 4]


def test_the_length_is_counted_in_utf16() -> None:
    assert (utf16_length("ab"), utf16_length("ж"), utf16_length("😀")) == (2, 1, 2)
    assert split_text("😀" * 5, [], max_length=5) == ["😀😀", "😀😀", "😀"]


@given(st.text(max_size=200), st.lists(st.text(max_size=200), max_size=5), st.integers(4, 50))
def test_no_text_is_too_long_or_empty_and_nothing_is_lost(title: str, lines: list[str], max_length: int) -> None:
    texts = split_text(title, lines, max_length)
    assert all(0 < utf16_length(text) <= max_length and text.strip() for text in texts)
    without_spaces = "".join("".join(texts).split())
    assert without_spaces.replace("…", "") == "".join(replace_invalid("".join([title, *lines])).split()).replace(
        "…", ""
    )


def test_invalid_characters_are_replaced() -> None:
    assert replace_invalid("a\x00b\ud800c\u00a0d\ne\t") == "a\ufffdb\ufffdc\u00a0d\ne\t"


def test_markup_in_a_text_is_escaped() -> None:
    assert to_html("a <b> & c\nd > e", has_title=True) == "<b>a &lt;b&gt; &amp; c</b>\nd &gt; e"
    assert to_html("a <b>", has_title=False) == "a &lt;b&gt;"
    assert to_html(" \nx", has_title=True) == " \nx"


def test_text_that_does_not_fit_into_a_caption_follows_it() -> None:
    lines = ["x" * 600, "y" * 600, "z" * 600]
    caption, texts = split_caption("title", lines)
    assert utf16_length(caption) <= MAX_CAPTION_LENGTH and caption.startswith("title\nx")
    assert texts == ["y" * 600 + "\n" + "z" * 600]
