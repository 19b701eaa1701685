"""Text within Telegram's limits: nothing lost, nothing split in the middle of a character."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitoring.messaging.telegram_format import LONGEST_CAPTION, as_html, caption, cleaned, length, parts


def test_short_text_is_one_part() -> None:
    assert parts("title", ["a", "b"]) == ["title\na\nb"]


def test_parts_break_between_lines_then_words_then_characters() -> None:
    assert parts("t", ["a" * 5, "b" * 5], longest=8) == ["t\naaaaa", "bbbbb"]
    assert parts("one two three", [], longest=8) == ["one two ", "three"]
    assert parts("x" * 20, [], longest=8) == ["x" * 8, "x" * 8, "x" * 4]


def test_length_is_counted_as_telegram_does() -> None:
    assert (length("ab"), length("ж"), length("😀")) == (2, 1, 2)
    assert parts("😀" * 5, [], longest=5) == ["😀😀", "😀😀", "😀"]


@given(st.text(max_size=200), st.lists(st.text(max_size=200), max_size=5), st.integers(4, 50))
def test_no_part_is_too_long_or_empty_and_nothing_is_lost(title: str, lines: list[str], longest: int) -> None:
    made = parts(title, lines, longest)
    assert all(0 < length(part) <= longest and part.strip() for part in made)
    squeezed = "".join("".join(made).split())
    assert squeezed.replace("…", "") == "".join(cleaned("".join([title, *lines])).split()).replace("…", "")


def test_what_no_message_can_hold_is_replaced() -> None:
    assert cleaned("a\x00b\ud800c\u00a0d\ne\t") == "a\ufffdb\ufffdc\u00a0d\ne\t"


def test_markup_in_the_text_is_text() -> None:
    assert as_html("a <b> & c\nd > e", has_title=True) == "<b>a &lt;b&gt; &amp; c</b>\nd &gt; e"
    assert as_html("a <b>", has_title=False) == "a &lt;b&gt;"
    assert as_html(" \nx", has_title=True) == " \nx"


def test_what_does_not_fit_under_a_picture_follows() -> None:
    lines = ["x" * 600, "y" * 600, "z" * 600]
    under, later = caption("title", lines)
    assert length(under) <= LONGEST_CAPTION and under.startswith("title\nx")
    assert later == ["y" * 600 + "\n" + "z" * 600]
